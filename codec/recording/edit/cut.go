package edit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// A CutConfig selects a part of a recording.
type CutConfig struct {
	From, To place.Place  // the part is [From, To); zero places mean everything
	Clock    place.Clock  // the times that From and To use
	Filter   codec.Filter // instruments; empty for all in the recording
	// Seen, if not nil, is called with the instruments up to the end of the part, perhaps several times.
	Seen func(*feed.Definition)
	// Read, if not nil, is set to the number of bytes read so far.
	Read *atomic.Int64
}

// CutStats describes a cut.
type CutStats struct {
	Range   feed.Range // from the first number of the first session; of the last lineage, if there are several
	Packets uint64
	Damages int    // damaged places in the part, except the torn end of a recording that was not closed
	Missing uint64 // numbers lost by the damages; the new recording lists them as gone
	Torn    int64  // bytes of an incomplete message at the end
}

// ErrEmpty is returned if the selected part of a recording is empty, or has none of the selected instruments.
var ErrEmpty = errors.New("recording: there is nothing in that part")

// Cut writes a part of the recording r, which must be at its beginning, to dst, and closes dst. The part begins
// with a snapshot as of its first number, unless that is 1. Numbers, sessions, times and the bytes of ticks
// stay the same; packets are remade only where the part begins or ends inside one, and with a filter. The
// numbers of ticks that the filter leaves out are skipped as not asked for, and the header states the filter.
// Numbers lost by damage become gone (damaged), followed by the state as far as it is known.
//
// The error is ErrEmpty, a *FilterError, or comes from ctx, from dst, or from reading.
func Cut(ctx context.Context, dst recording.File, r *recording.Reader, cfg CutConfig) (CutStats, error) {
	c := &cutter{fold: newFold(r), cfg: cfg, dst: dst}
	var err error
	if c.locator, err = newLocator(r, cfg.Clock); err != nil {
		return c.stats, err
	}
	if c.cfg.From, c.cfg.To, err = r.Resolve(cfg.From, cfg.To, cfg.Clock); err != nil {
		return c.stats, err
	}
	for !c.over {
		if err := ctx.Err(); err != nil {
			return c.stats, err
		}
		item, err := r.Next()
		if cfg.Read != nil {
			cfg.Read.Store(r.Offset())
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return c.stats, err
		}
		if err := c.item(&item); err != nil {
			return c.stats, err
		}
	}
	if cfg.Seen != nil {
		for t := range c.state.Definitions(nil) {
			cfg.Seen(t.Definition())
		}
	}
	if c.w == nil || !c.known() {
		return c.stats, ErrEmpty
	}
	if err := c.flush(); err != nil {
		return c.stats, err
	}
	c.stats.Range.To = c.w.Next()
	return c.stats, c.w.Close()
}

type cutter struct {
	*fold   // of everything read so far
	locator *locator
	cfg     CutConfig
	dst     recording.File
	w       *recording.Writer // nil before the part
	stats   CutStats
	over    bool

	line   bool // a header was read whose session is not begun yet
	filter codec.Filter
	wanted map[feed.InstrumentID]bool
	seed   uint32

	buf     []byte
	skipped codec.Packet // numbers not asked for, not written yet
}

func (c *cutter) item(item *recording.Item) error {
	switch item.Kind {
	case recording.KindHeader:
		if err := c.flush(); err != nil {
			return err
		}
		if err := c.enter(item); err != nil {
			return err
		}
		c.line = true
	case recording.KindSnapshot:
		if err := c.enter(item); err != nil || c.w == nil {
			return err
		}
		if err := c.flush(); err != nil {
			return err
		}
		return c.begin(c.state)
	case recording.KindPackets:
		for h, raw := range recording.Packets(item.Data) {
			if err := c.packet(&h, raw); err != nil || c.over {
				return err
			}
		}
	case recording.KindDamage, recording.KindTorn:
		if item.Kind == recording.KindTorn {
			c.stats.Torn += item.Size
		} else if c.w != nil || c.cfg.From.IsZero() {
			c.stats.Damages++
			c.stats.Missing += item.Range.Len()
		}
		if c.w != nil {
			if err := c.gone(item.Range); err != nil {
				return err
			}
		}
		return c.enter(item)
	}
	return nil
}

// begin begins a line of the new recording at the fold's next number.
func (c *cutter) begin(state *feed.State) error {
	c.line = false
	filter, err := intersect(c.header.Filter, c.cfg.Filter)
	if err != nil {
		return err
	}
	h := *c.header
	h.Next = c.next
	h.Filter = filter
	if len(c.cfg.Filter) > 0 {
		h.Seed = codec.LineSeed(h.Lineage.Current().ID, filter)
	}
	c.filter, c.seed, c.wanted = filter, h.Seed, nil
	if state != nil && len(c.cfg.Filter) > 0 {
		some := feed.NewState()
		some.Replace(func(_ feed.InstrumentID, d *feed.Definition) bool { return c.cfg.Filter.Match(d) }, state)
		state = some
	}
	if c.w != nil {
		return c.w.Continue(h, state)
	}
	c.stats.Range.From = h.Next
	c.w, err = recording.NewWriter(c.dst, h, state)
	return err
}

// known reports whether any instrument that the filter selects was defined up to the end of the part.
func (c *cutter) known() bool {
	if len(c.cfg.Filter) == 0 {
		return true
	}
	for t := range c.state.Definitions(nil) {
		if c.cfg.Filter.Match(t.Definition()) {
			return true
		}
	}
	return false
}

// wants reports whether the filter selects instrument id.
func (c *cutter) wants(id feed.InstrumentID) bool {
	want, known := c.wanted[id]
	if !known {
		d, ok := c.state.Definition(id)
		want = ok && c.cfg.Filter.Match(d)
		if c.wanted == nil {
			c.wanted = make(map[feed.InstrumentID]bool)
		}
		c.wanted[id] = want
	}
	return want
}

func (c *cutter) packet(h *codec.Packet, raw []byte) error {
	c.locator.pass(h, raw, &c.cfg.From, &c.cfg.To)
	if c.cfg.To.Reached(h.First, place.NoTime) {
		c.over = true
		return nil
	}
	from, to := h.First, h.First+h.Count
	if c.w == nil && !c.cfg.From.IsZero() && !c.cfg.From.Reached(h.First, place.NoTime) {
		if !c.cfg.From.Reached(to-1, place.NoTime) {
			c.fold.packet(h, raw, place.Place{})
			return nil
		}
		from, _ = c.cfg.From.Seq()
		c.fold.packet(h, raw, c.cfg.From)
	}
	if seq, ok := c.cfg.To.Seq(); ok && seq < to {
		to, c.over = seq, true
	}
	if from >= to {
		return nil
	}
	if c.w == nil || c.line {
		state := c.state
		if c.w != nil {
			state = nil // the session continues where the previous one ended, or begins at 1
		}
		if err := c.begin(state); err != nil {
			return err
		}
	}
	c.stats.Packets++
	if err := c.write(h, raw, from, to); err != nil {
		return err
	}
	c.fold.packet(h, raw, place.Place{})
	return nil
}

// write writes the part of packet h, the bytes raw, that is in [from, to).
func (c *cutter) write(h *codec.Packet, raw []byte, from, to uint64) error {
	whole := from == h.First && to == h.First+h.Count
	if whole && len(c.cfg.Filter) == 0 {
		return c.append(raw, to, h.PublishTime)
	}
	var want func(*codec.Entry, []byte) bool
	if len(c.cfg.Filter) > 0 {
		want = func(e *codec.Entry, entry []byte) bool {
			if e.Kind == feed.KindDefinition {
				if d := definitionIn(entry); d != nil {
					if c.cfg.Seen != nil {
						c.cfg.Seen(d)
					}
					if c.wanted == nil {
						c.wanted = make(map[feed.InstrumentID]bool)
					}
					c.wanted[e.Instrument] = c.cfg.Filter.Match(d)
				}
			}
			return c.wants(e.Instrument)
		}
	}
	out, skips, err := recording.AppendPart(c.buf[:0], h, raw, from, to, want, c.seed)
	if err != nil { // the checksum is right, but the contents are malformed
		c.stats.Damages++
		c.stats.Missing += to - from
		return c.gone(feed.Range{From: from, To: to})
	}
	c.buf = out[:0]
	if !skips {
		return c.append(out, to, h.PublishTime)
	}
	if c.skipped.Count > 0 && c.skipped.Count+to-from > codec.MaxSpan {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if c.skipped.Count == 0 {
		c.skipped.First = from
	}
	c.skipped.Count += to - from
	c.skipped.PublishTime = h.PublishTime
	return nil
}

// append writes whole packets.
func (c *cutter) append(p []byte, next uint64, last int64) error {
	if err := c.flush(); err != nil {
		return err
	}
	return c.w.Append(p, next, last)
}

// flush writes the postponed skips.
func (c *cutter) flush() error {
	h := c.skipped
	c.skipped = codec.Packet{}
	if h.Count == 0 {
		return nil
	}
	p := codec.AppendPacket(nil, &h, codec.AppendSkip(nil, h.Count), c.seed)
	return c.w.Append(p, h.First+h.Count, h.PublishTime)
}

// gone writes the numbers r as gone, and the state as far as it is known.
func (c *cutter) gone(r feed.Range) error {
	if r.Empty() || r.From < c.w.Next() && c.skipped.Count == 0 {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	last := max(c.w.LastTime(), c.time)
	if last == place.NoTime {
		last = 0
	}
	for r.From < r.To {
		n := min(r.Len(), codec.MaxSpan)
		h := codec.Packet{First: r.From, Count: n, PublishTime: last}
		r.From += n
		if err := c.w.Append(codec.AppendPacket(nil, &h, codec.AppendGone(nil, n, codec.GoneDamaged), c.seed), r.From, last); err != nil {
			return err
		}
	}
	c.next = r.To
	if c.line {
		return nil // the new line will write the state
	}
	return c.begin(c.state)
}

// definitionIn returns the definition in an entry, or nil if it is malformed.
func definitionIn(entry []byte) *feed.Definition {
	var t [1]feed.Tick
	body := codec.PacketBody(&codec.Packet{First: 1, Count: 1}, entry)
	if n, err := body.Decode(t[:]); n != 1 || err != nil {
		return nil
	}
	return t[0].Definition()
}

// A FilterError reports that patterns cannot express what both of two filters select.
type FilterError struct{ Have, Want string }

func (e *FilterError) Error() string {
	return fmt.Sprintf("the recording has only %s, and patterns cannot express what %s selects of it: name the symbols", e.Have, e.Want)
}

// intersect returns a filter that selects what both filters select.
func intersect(have, want codec.Filter) (codec.Filter, error) {
	switch {
	case have.All():
		return want, nil
	case want.All():
		return have, nil
	}
	var both []string
	for _, a := range have {
		for _, b := range want {
			symbolA, venueA, _ := strings.Cut(a, "@")
			symbolB, venueB, _ := strings.Cut(b, "@")
			symbol, some, ok := common(symbolA, symbolB)
			venue, someVenue, okVenue := common(venueA, venueB)
			switch {
			case ok && !some || okVenue && !someVenue: // nothing
			case !ok || !okVenue:
				return nil, &FilterError{a, b}
			case venue == "":
				both = append(both, symbol)
			default:
				both = append(both, symbol+"@"+venue)
			}
		}
	}
	if len(both) == 0 {
		return nil, ErrEmpty
	}
	return codec.NewFilter(both)
}

// common returns a pattern for what two patterns of a symbol or venue both match; some is false if they have no
// match in common, and ok is false if that is not known. An empty pattern matches everything.
func common(a, b string) (p string, some, ok bool) {
	literal := func(s string) bool { return !strings.ContainsAny(s, "*?") }
	matches := func(p, s string) bool { return codec.Filter{p}.Match(&feed.Definition{Symbol: s}) }
	switch {
	case a == b || b == "" || b == "*":
		return a, true, true
	case a == "" || a == "*":
		return b, true, true
	case literal(a):
		return a, matches(b, a), true
	case literal(b):
		return b, matches(a, b), true
	}
	return "", false, false
}
