package main

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"tickfeed/cmd/audit"
	"tickfeed/subscriber"
)

// lag describes the state of a subscriber and how far behind it is: in time, or if nothing reaches it, in ticks before
// head, the newest number that any subscriber knows of.
func lag(s subscriber.Status, head uint64, rate float64) string {
	behind := max(head, s.Next) - s.Next
	switch {
	case s.LagTime >= time.Millisecond:
		return fmt.Sprintf("%s %s", s.State, formatDuration(s.LagTime.Round(time.Millisecond)))
	case s.Next > 0 && float64(behind) > rate/10:
		return fmt.Sprintf("%s -%s", s.State, formatCount(float64(behind)))
	}
	return fmt.Sprintf("%s 0", s.State)
}

// status prints the status line of this second.
func (d *demo) status() {
	now, head := time.Now(), d.head
	for _, x := range d.parties {
		head = max(head, x.sub.Status().Head)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%5s/s", formatCount(math.Round(float64(head-d.head)/now.Sub(d.headAt).Seconds())))
	st := d.publisher.Load().now()
	if at := st.marketTime(now, d.o.speed()); at != 0 {
		est := time.FixedZone("EST", -5*60*60)
		fmt.Fprintf(&b, " %s", time.Unix(0, at).In(est).Format("15:04"))
	}
	d.head, d.headAt = head, now
	for _, x := range d.parties {
		fmt.Fprintf(&b, " | %s %s", x.name, lag(x.sub.Status(), head, float64(d.o.rate)))
	}
	text := printable(b.String())
	for _, state := range []subscriber.ConnState{subscriber.Connecting, subscriber.Stale, subscriber.Disconnected} {
		text = strings.ReplaceAll(text, " "+state.String()+" ", " "+d.screen().paint(yellow, state.String())+" ")
	}
	d.line(plain, text)
}

// outcomeColours are the colours of ticks that were not delivered.
var outcomeColours = map[audit.Outcome]colour{audit.Withheld: yellow, audit.Lost: red, audit.Disowned: red}

// happens shows a rule of the scenario when it happens for the first time.
func (d *demo) happens(rule string) {
	if _, shown := d.happened.LoadOrStore(rule, true); !shown {
		d.say(plain, "market: %s", rule)
	}
}

// say prints an event, in colour c, after the time.
func (d *demo) say(c colour, format string, args ...any) {
	d.line(c, printable(fmt.Sprintf(format, args...)))
}

// line is say for text that is already printable, except for colours.
func (d *demo) line(c colour, text string) {
	s := d.screen()
	at := fmt.Sprintf("%5.1fs ", time.Since(d.began).Seconds())
	text = s.fit(at+text, "         ")
	d.print("%s\n", s.paint(dim, at)+s.paintLines(c, strings.TrimPrefix(text, at)))
}

// screen returns the screen of the output; if that is not a terminal, the width is columns.
func (d *demo) screen() screen {
	s := d.p.screen(d.out)
	s.width = cmp.Or(s.width, columns)
	return s
}

func (d *demo) print(format string, args ...any) {
	d.outMu.Lock()
	defer d.outMu.Unlock()
	if d.outErr != nil {
		return
	}
	if _, err := fmt.Fprintf(d.out, format, args...); err != nil {
		d.outErr = output(err)
		d.crash(d.outErr) // end the demo: its output is gone
	}
}

// printed returns the error of the first failed write.
func (d *demo) printed() error {
	d.outMu.Lock()
	defer d.outMu.Unlock()
	return d.outErr
}
