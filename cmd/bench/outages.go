package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"tickfeed/cmd/child"
	"tickfeed/codec/lab"
)

// An outage is a way to lose the publisher.
type outage struct {
	name  string
	fault string // of a lab between publisher and subscriber; empty for those of the publisher's process
	end   func(p *pair) error
	// started is true if the fault ends the publisher's process, and another one takes over its journal and its address.
	started bool
	// frozen is how long the publisher is suspended: longer if the subscriber has not noticed it by then.
	frozen time.Duration
}

// outages returns the kinds of outages; those that this system cannot make are left out.
func outages(frozen time.Duration) []outage {
	list := []outage{
		{name: "cut by FIN", fault: "cut fin"},
		{name: "cut by RST", fault: "cut rst"},
		{name: "half-open, nothing comes", fault: "half-open in"},
		{name: "half-open, nothing goes", fault: "half-open out"},
		{name: "stalled", fault: "stall 1m"},
		{name: "publisher killed", started: true, end: func(p *pair) error { p.pub.kill(); return nil }},
	}
	if child.CanSignal() == nil {
		list = append(list,
			outage{name: "publisher stopped, goodbye", started: true, end: func(p *pair) error {
				if err := p.pub.Terminate(); err != nil {
					return err
				}
				// Also in a child that does not heed the signal. The context of a child that does has ended.
				_, _ = call[nothing](context.Background(), p.pub, "close", nothing{})
				p.pub.stop()
				return nil
			}},
			outage{name: fmt.Sprintf("publisher frozen for %v", frozen), frozen: frozen, end: func(p *pair) error { return p.pub.Freeze() }},
		)
	}
	return list
}

// times are the times of one outage, from its beginning until the subscriber has noticed it, has the first tick after it, and is
// live again.
type times struct{ noticed, first, live durations }

type durations []time.Duration

// text returns the p50 and the p99 of d.
func (d durations) text() string {
	f := Figure{Unit: Seconds}
	return f.value(quantile(d, 0.50).Seconds()) + " / " + f.value(quantile(d, 0.99).Seconds())
}

func (t *times) add(began int64, r recovery) {
	t.noticed = append(t.noticed, time.Duration(r.Noticed-began))
	t.first = append(t.first, time.Duration(r.First-began))
	t.live = append(t.live, time.Duration(r.Live-began))
}

// outages measures each kind of outage, n times.
func (b *bench) outages(ctx context.Context, n int, rate float64) error {
	heartbeat := 200 * time.Millisecond
	if b.Smoke {
		heartbeat /= 2
	}
	frozen := 5 * heartbeat
	header := outageRow(fmt.Sprintf("%d × each at %s, heartbeats every %v, p50 / p99", n, rateText(rate), heartbeat), "noticed", "first new tick", "live", "lost")
	for _, o := range outages(frozen) {
		p, err := b.pair(ctx, pairArgs{heartbeat: heartbeat})
		if err != nil {
			return err
		}
		t, err := b.suffer(ctx, p, o, n, rate)
		var lost uint64
		if err == nil { // before close, which treats a loss as an error
			lost, err = call[uint64](ctx, p.subs, "unsubscribe", nothing{})
		}
		if err := errors.Join(err, p.close(ctx)); err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		b.tellOutage(fmt.Sprintf("%d × %s", n, o.name), header, outageRow("  "+o.name, t.noticed.text(), t.first.text(), t.live.text(), fmt.Sprint(lost)), &t, lost)
		header = ""
	}
	return nil
}

// tellOutage passes on the figures of one kind. In text they are header, if it is not empty, and row.
func (b *bench) tellOutage(name, header, row string, t *times, lost uint64) {
	rows := []string{row}
	if header != "" {
		rows = []string{header, row}
	}
	tell := func(f *Figure) {
		f.rows, rows = rows, []string{}
		b.tell(f)
	}
	for _, f := range []struct {
		what string
		durations
	}{{"noticed", t.noticed}, {"first tick", t.first}, {"live", t.live}} {
		detail := map[string]float64{"max_s": quantile(f.durations, 1).Seconds()}
		tell(&Figure{Name: fmt.Sprintf("%s, %s, p50", name, f.what), Unit: Seconds, Measured: one(quantile(f.durations, 0.50)), Detail: detail})
		tell(&Figure{Name: fmt.Sprintf("%s, %s, p99", name, f.what), Unit: Seconds, Measured: one(quantile(f.durations, 0.99)), Detail: detail})
	}
	tell(&Figure{Name: name + ", ticks lost", Unit: Ticks, Measured: NewSpread([]float64{float64(lost)}), Target: atMost(0)})
}

// outageRow returns a row of the table of outages.
func outageRow(name, noticed, first, live, lost string) string {
	return fmt.Sprintf("%-64s  %20s  %20s  %20s  %6s", name, noticed, first, live, lost)
}

// suffer makes outage o happen n times to the subscriber of p, while ticks are published.
func (b *bench) suffer(ctx context.Context, p *pair, o outage, n int, rate float64) (t times, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var under sync.WaitGroup
	defer under.Wait()
	defer cancel()
	addr, x := p.Addr, (*lab.Lab)(nil)
	if o.fault != "" {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return t, err
		}
		upstream := p.Addr
		x = &lab.Lab{Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", upstream) }}
		addr = ln.Addr().String()
		under.Go(func() { _ = x.Serve(ctx, ln) })
	}
	if _, err := call[nothing](ctx, p.subs, "subscribe", subscribeArgs{Addr: addr, N: 1}); err != nil {
		return t, err
	}
	publish := func() { // until ctx ends, or the publisher does
		pub := p.pub
		under.Go(func() { _, _ = call[pacedResult](ctx, pub, "paced", pacedArgs{Rate: rate, Duration: time.Hour}) })
	}
	publish()
	for i := range n {
		b.Progress(fmt.Sprintf("reconnect: %s, %d of %d", o.name, i+1, n))
		var next *peer
		if o.started { // ready to take over
			if next, err = b.standby(ctx, p); err != nil {
				return t, err
			}
		}
		if err := b.pause(ctx); err != nil {
			return t, err
		}
		had, err := call[int](ctx, p.subs, "recoveries", nothing{})
		if err != nil {
			return t, err
		}
		began := time.Now().UnixNano()
		if x != nil {
			if err := happen(x, o.fault); err != nil {
				return t, err
			}
		} else if err := o.end(p); err != nil {
			return t, err
		}
		switch {
		case next != nil:
			p.pub = next
			if _, err := call[openResult](ctx, p.pub, "open", p.opened); err != nil {
				return t, err
			}
			publish()
		case o.frozen > 0:
			thaw := time.After(o.frozen)
			_, err := call[nothing](ctx, p.subs, "notice", had+1)
			select {
			case <-thaw:
			case <-ctx.Done():
			}
			if err := errors.Join(err, p.pub.Thaw()); err != nil {
				return t, err
			}
		}
		r, err := call[recovery](ctx, p.subs, "recovery", had+1)
		if err != nil {
			return t, err
		}
		t.add(began, r)
	}
	return t, nil
}

// happen makes a fault happen to all connections of x now.
func happen(x *lab.Lab, fault string) error {
	s, err := lab.Parse("outage", []byte("on now: "+fault))
	if err != nil {
		return err
	}
	i, err := x.Add(s.Rules[0])
	if err != nil {
		return err
	}
	x.Trigger("now")
	x.Remove(i)
	return nil
}

// standby starts a publisher's process that can take over the journal and the address of p.
func (b *bench) standby(ctx context.Context, p *pair) (*peer, error) {
	pub, err := b.start(rolePublisher)
	if err != nil {
		return nil, err
	}
	_, err = call[setInfo](ctx, pub, "load", p.loaded)
	return pub, err
}
