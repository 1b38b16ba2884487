package subscriber

import (
	"fmt"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Recorder keeps the bytes of a subscription. Its methods are called by the goroutine of Run, in the order of the line; an
// error of any of them ends Run as one of the handler does. They may take their time, as the handler may.
//
// With a Recorder each packet is handed over for itself: Begin where a line begins, then for each packet Before, Packet, and
// then the handler with all its ticks.
type Recorder interface {
	// Begin says that the packets from now on are of the session and the line that h tells, from number h.Next on; Version,
	// Source and Created are not set. The state is as of h.Next; nil where it is not known, because withheld or lost
	// numbers come first. Lost is the numbers directly before h.Next, of h.Lineage, that were asked for and cannot be had;
	// it is empty if the number before h.Next is accounted for in another way. Begin is called after each welcome, session
	// message, change of the filter, and snapshot. H is the Recorder's to keep, the state is not.
	Begin(h codec.FileHeader, state *feed.State, lost feed.Range) error
	// Before announces a packet; the state is as of its beginning, or nil as above.
	Before(p codec.Packet, state *feed.State) error
	// Packet is that packet, verbatim, once its checksum and all its entries have proved good. It may begin before the
	// last h.Next, and repeat what was recorded. It is valid until Packet returns.
	Packet(raw []byte) error
}

// header tells the line as it is now, for a recording.
func (l *line) header() codec.FileHeader {
	lineage, _ := l.position.Lineage.Until(l.c.session)
	return codec.FileHeader{
		Mode: l.c.mode, Lineage: lineage, Origin: l.c.origin, Seed: l.c.seed, Filter: l.of, Next: l.position.Next,
	}
}

// lostBefore is the numbers directly before h.Next, of h.Lineage, that the ledger counts as lost.
func (l *line) lostBefore(h *codec.FileHeader) feed.Range {
	var lost feed.RangeSet
	for _, n := range spread(h.Lineage, feed.Range{From: 1, To: h.Next}) {
		a := l.ledger.Account(n.Session)
		lost = lost.Union(a.Lost.Intersect(feed.NewRangeSet(n.Range)))
	}
	if ranges := lost.Ranges(); len(ranges) > 0 && ranges[len(ranges)-1].To == h.Next {
		return ranges[len(ranges)-1]
	}
	return feed.Range{}
}

// knownState is the state, if it is known.
func (l *line) knownState() *feed.State {
	if l.need != needNothing {
		return nil
	}
	return l.state
}

// begin tells the recorder, if there is one, of a line that it was not told of. Batch must have been handed over.
func (r *runner) begin() error {
	l := r.line
	if r.cfg.Recorder == nil || l.c.recorded || !l.c.welcomed {
		return nil
	}
	l.c.recorded = true
	h := l.header()
	return r.recorder(r.cfg.Recorder.Begin(h, l.knownState(), l.lostBefore(&h)))
}

// before announces the packet raw, which was opened.
func (r *runner) before(raw []byte) error {
	if r.cfg.Recorder == nil {
		return nil
	}
	if err := r.begin(); err != nil {
		return err
	}
	return r.recorder(r.cfg.Recorder.Before(codec.PacketAt(raw), r.line.knownState()))
}

// record hands the packet raw, which was read to its end, to the recorder, and what it held to the handler.
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

// checkRecorded refuses a size of batches that a recorded packet may not fit in.
func (c *Config) checkRecorded() error {
	if c.Recorder != nil && c.BatchSize != 0 {
		return fmt.Errorf("BatchSize must be 0 with a Recorder, got %d", c.BatchSize)
	}
	return nil
}
