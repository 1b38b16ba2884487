package replay

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
)

// An extent is where a replay may seek to: recorded times in [from, to], and numbers in [first, next). The numbers
// are 0 if they are unknown, as with recordings that are merged or hold several numberings.
type extent struct {
	from, to    int64
	first, next uint64
}

// extent returns where the replay may seek to: the extent of the recordings, up to Config.To.
func (p *Player) extent() (extent, error) {
	x, err := p.held()
	if err != nil {
		return extent{}, err
	}
	if p.ending {
		switch {
		case p.until.kind == toTime:
			x.to = min(x.to, p.until.at)
		case p.until.kind == toSeq && x.next > 0:
			x.next = min(x.next, p.until.seq)
		}
	}
	p.shown.mu.Lock()
	p.shown.status.Last = x.to
	p.shown.mu.Unlock()
	return x, nil
}

// held returns the extent of the recordings. The first call reads the index and the last part of each.
func (p *Player) held() (extent, error) {
	if p.span != nil {
		return *p.span, nil
	}
	x := extent{from: p.shown.status.First, to: p.shown.status.First}
	for _, rec := range p.cfg.Recordings {
		to, first, next, err := end(rec, p.cfg.Clock)
		if err != nil {
			return extent{}, err
		}
		x.to, x.first, x.next = max(x.to, to), first, next
	}
	if len(p.cfg.Recordings) > 1 {
		x.first, x.next = 0, 0
	}
	p.span = &x
	return x, nil
}

// end returns when the last tick of a recording is due on clock, and the range of its numbers, [0, 0) if it has
// several numberings.
func end(rec Recording, clock place.Clock) (to int64, first, next uint64, err error) {
	t, err := openTape(rec, nil, clock, &tally{}, zerolog.Nop())
	if err != nil {
		return 0, 0, 0, err
	}
	var u unit
	if err := t.read(&u, false); err == nil {
		first = u.first
	}
	marks, err := t.r.Marks()
	if err != nil {
		return 0, 0, 0, fmt.Errorf("%s: %w", rec.Name, err)
	}
	t.marks = marks
	if err = t.rewind(); err == nil && len(marks) > 0 {
		err = t.goTo(tapePlace{next: marks[len(marks)-1].Seq, due: math.MinInt64}, nil)
	}
	lines := 0
	for err == nil {
		if err = t.read(&u, false); err != nil {
			break
		}
		if u.kind == unitLine {
			lines++
		}
		next = u.end
	}
	if err != io.EOF {
		return 0, 0, 0, err
	}
	if _, to, err = t.r.Span(clock); err != nil {
		return 0, 0, 0, fmt.Errorf("%s: %w", rec.Name, err)
	}
	for i := range marks { // a mark of a lower number begins another numbering
		if i > 0 && marks[i].Seq < marks[i-1].Seq {
			lines = 2
		}
	}
	if lines > 1 || first == 0 || next <= first {
		return to, 0, 0, nil
	}
	return to, first, next, nil
}

// sealed reports whether all recordings end with an index, so that finding their extent is quick.
func (p *Player) sealed() bool {
	for _, rec := range p.cfg.Recordings {
		r, err := recording.NewReader(rec.R, rec.Size)
		if err != nil || r.Trailer() == nil {
			return false
		}
	}
	return true
}

// A RangeError reports a seek to a place outside the recording. The replay is where it was.
type RangeError struct {
	Seq uint64 // the requested number, or 0
	At  int64  // the requested time, in ns since the Unix epoch

	From, To    int64  // the first and last time of the recording
	First, Last uint64 // its first and last number; 0 if unknown
	zone        *time.Location
}

func (e *RangeError) Error() string {
	zone := e.zone
	if zone == nil {
		zone = time.UTC
	}
	at := func(ns int64) string { return time.Unix(0, ns).In(zone).Format("2006-01-02 15:04:05.000 MST") }
	var b strings.Builder
	switch {
	case e.Seq > 0:
		fmt.Fprintf(&b, "number %d", e.Seq)
	case e.At < e.From:
		fmt.Fprintf(&b, "%s is before the beginning", at(e.At))
	default:
		fmt.Fprintf(&b, "%s is after the end", at(e.At))
	}
	if e.Seq > 0 {
		b.WriteString(" is not in the recording")
	}
	fmt.Fprintf(&b, ": seek between %s and %s", at(e.From), at(e.To))
	if e.Last > 0 {
		fmt.Fprintf(&b, ", or seq:%d and seq:%d", e.First, e.Last)
	}
	return b.String()
}

// checkRange returns a *RangeError if t, which must be resolved, is outside the extent.
func (p *Player) checkRange(t Target) error {
	x, err := p.extent()
	if err != nil {
		return err
	}
	e := &RangeError{At: t.at, From: x.from, To: x.to, First: x.first, Last: max(x.next, 1) - 1, zone: t.zone}
	switch {
	case t.kind == toTime && (t.at < x.from || t.at > x.to):
		return e
	case t.kind == toSeq && x.next > 0 && (t.seq < x.first || t.seq >= x.next):
		e.Seq, e.At = t.seq, 0
		return e
	}
	return nil
}
