package subscriber

import (
	"fmt"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Recorder records the packets of a subscription. The goroutine of Run calls its methods, in the order of the line. An error
// of a method ends Run, as an error of the handler does. The methods may be slow, as the handler may.
//
// With a Recorder each packet is a batch: Run calls Begin at the start of a line, then for each packet Before, Packet, and the
// handler with all its ticks.
type Recorder interface {
	// Begin announces that the next packets belong to the session and the line that h describes, from number h.Next on;
	// h.Version, h.Source and h.Created are not set. The state is as of h.Next, or nil if it is unknown because withheld or
	// lost numbers come first. The range lost holds the numbers of h.Lineage directly before h.Next that were asked for and
	// are lost; it is empty if the number before h.Next is accounted for in another way. Begin is called after each welcome,
	// session message, change of the filter, and snapshot. The Recorder may keep h, but not state.
	Begin(h codec.FileHeader, state *feed.State, lost feed.Range) error
	// Before announces a packet. The state is as of its beginning, or nil if it is unknown.
	Before(p codec.Packet, state *feed.State) error
	// Packet records the bytes of the packet that Before announced, whose checksum and entries are valid. The packet may begin
	// before the last h.Next and repeat recorded numbers. raw is valid until Packet returns.
	Packet(raw []byte) error
}

// header returns the header of a recording that begins with the line as it is now.
func (l *line) header() codec.FileHeader {
	lineage, _ := l.position.Lineage.Until(l.c.from.session)
	return codec.FileHeader{
		Mode: l.c.from.mode, Lineage: lineage, Origin: l.c.from.origin, Seed: l.c.from.seed, Filter: l.scope.granted, Next: l.position.Next,
	}
}

// lostBefore returns the numbers of h.Lineage directly before h.Next that the ledger counts as lost.
func (l *line) lostBefore(h *codec.FileHeader) feed.Range {
	var lost feed.RangeSet
	for _, n := range h.Lineage.Split(feed.Range{From: 1, To: h.Next}) {
		a := l.ledger.Account(n.Session)
		lost = lost.Union(a.Lost.Intersect(feed.NewRangeSet(n.Range)))
	}
	if ranges := lost.Ranges(); len(ranges) > 0 && ranges[len(ranges)-1].To == h.Next {
		return ranges[len(ranges)-1]
	}
	return feed.Range{}
}

// knownState returns the state, or nil if it is unknown.
func (l *line) knownState() *feed.State {
	if l.need != needNothing {
		return nil
	}
	return l.state
}

// begin calls Recorder.Begin, if there is a recorder and it has not been called for the line as it is now. The caller must
// have delivered the batch.
func (r *runner) begin() error {
	l := r.line
	if r.cfg.Recorder == nil || l.c.recorded || !l.c.welcomed {
		return nil
	}
	l.c.recorded = true
	h := l.header()
	return r.recorder(r.cfg.Recorder.Begin(h, l.knownState(), l.lostBefore(&h)))
}

// before announces the open packet raw to the recorder.
func (r *runner) before(raw []byte) error {
	if r.cfg.Recorder == nil {
		return nil
	}
	if err := r.begin(); err != nil {
		return err
	}
	return r.recorder(r.cfg.Recorder.Before(codec.PacketAt(raw), r.line.knownState()))
}

// record passes the packet raw, which is decoded, to the recorder, and its ticks to the handler.
func (r *runner) record(raw []byte) error {
	if r.cfg.Recorder == nil {
		return nil
	}
	if err := r.recorder(r.cfg.Recorder.Packet(raw)); err != nil {
		return err
	}
	return r.flush()
}

func (r *runner) recorder(err error) error {
	if err == nil {
		return nil
	}
	return r.stop(err)
}

// checkRecorded refuses a BatchSize with a Recorder: a recorded packet may not fit.
func (c *Config) checkRecorded() error {
	if c.Recorder != nil && c.BatchSize != 0 {
		return fmt.Errorf("BatchSize must be 0 with a Recorder, got %d", c.BatchSize)
	}
	return nil
}
