package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"tickfeed/feed/nouns"

	"golang.org/x/sync/errgroup"
)

// costs are the costs of a tick on both sides.
type costs struct{ publisher, subscriber []float64 }

func (c *costs) add(f *flooded) {
	n := float64(max(f.Deliveries, 1))
	c.publisher = append(c.publisher, f.CPU.Seconds()/n)
	c.subscriber = append(c.subscriber, f.subscribers.Seconds()/n)
}

// floods measures the number of ticks per second delivered to n subscribers.
func (b *bench) floods(ctx context.Context, name string, a pairArgs, n, batch int, target *Target) (err error) {
	p, err := b.pair(ctx, a)
	if err != nil {
		return err
	}
	if err := p.subscribe(ctx, subscribeArgs{N: n, Acks: p.Acks}); err != nil {
		return err
	}
	flood := floodArgs{Duration: b.Duration, Batch: batch, Owed: n, Window: window(n)}
	warm := flood
	warm.Duration = b.Duration / 4
	if _, err := p.flood(ctx, warm); err != nil {
		return err
	}
	if err := p.profile(ctx, name); err != nil {
		return err
	}
	var measured, limit []float64
	var cost costs
	err = b.each(name, func() error {
		raw, err := b.raw(ctx, n, p.info.Size)
		if err != nil {
			return err
		}
		f, err := p.flood(ctx, flood)
		if err != nil {
			return err
		}
		measured, limit = append(measured, f.perSecond()), append(limit, raw)
		cost.add(&f)
		return nil
	})
	if err := errors.Join(err, p.close(ctx)); err != nil {
		return err
	}
	b.tell(&Figure{
		Name: name, Unit: TicksPerSecond, Measured: NewSpread(measured), Limit: NewSpread(limit), Against: "raw TCP",
		Target: target, PublisherCPU: NewSpread(cost.publisher), SubscriberCPU: NewSpread(cost.subscriber),
	})
	return nil
}

func (b *bench) throughput(ctx context.Context) error {
	if err := b.floods(ctx, "100 ticks a call", pairArgs{}, 1, 100, atLeastRatio(0.40)); err != nil {
		return err
	}
	return b.floods(ctx, "1 tick a call", pairArgs{}, 1, 1, atLeastRatio(0.25))
}

func (b *bench) fanOut(ctx context.Context) error {
	for _, n := range b.counts(b.Subscribers, []int{100, 1000}, 3) {
		target := atLeastRatio(0.45)
		if n > 100 {
			target = atLeastRatio(0.40)
		}
		if err := b.floods(ctx, subscribers(n), pairArgs{}, n, 100, target); err != nil {
			return err
		}
	}
	return nil
}

// counts returns the requested value, or else the scenario's own values, only one in a smoke run.
func (b *bench) counts(asked int, normal []int, smoke int) []int {
	switch {
	case asked != 0:
		return []int{asked}
	case b.Smoke:
		return []int{smoke}
	}
	return normal
}

func subscribers(n int) string { return nouns.Count(n, "subscriber") }

// journal compares a publisher with a journal to one without.
func (b *bench) journal(ctx context.Context) error {
	var pairs [2]*pair
	for i := range pairs {
		p, err := b.pair(ctx, pairArgs{noJournal: i == 1})
		if err != nil {
			return err
		}
		if err := p.subscribe(ctx, subscribeArgs{N: 1, Acks: p.Acks}); err != nil {
			return err
		}
		if _, err := p.flood(ctx, floodArgs{Duration: b.Duration / 4, Batch: 100, Owed: 1, Window: window(1)}); err != nil {
			return err
		}
		if err := p.profile(ctx, []string{"on", "off"}[i]); err != nil {
			return err
		}
		pairs[i] = p
	}
	var rates [2][]float64
	var cost costs
	err := b.each("on and off", func() error {
		for i, p := range pairs {
			f, err := p.flood(ctx, floodArgs{Duration: b.Duration, Batch: 100, Owed: 1, Window: window(1)})
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], f.perSecond())
			if i == 0 {
				cost.add(&f)
			}
		}
		return nil
	})
	if err := errors.Join(err, pairs[0].close(ctx), pairs[1].close(ctx)); err != nil {
		return err
	}
	b.tell(&Figure{
		Name: "on, 1 subscriber", Unit: TicksPerSecond, Measured: NewSpread(rates[0]), Limit: NewSpread(rates[1]), Against: "off",
		Target: atLeastRatio(0.95), PublisherCPU: NewSpread(cost.publisher), SubscriberCPU: NewSpread(cost.subscriber),
	})
	return nil
}

// latency measures the time from when a tick is due until each subscriber's application has it.
func (b *bench) latency(ctx context.Context) error {
	type variant struct {
		subscribers int
		rate        float64
	}
	variants := []variant{{1, 10_000}, {1, 100_000}, {50, 10_000}, {50, 100_000}}
	switch {
	case b.Subscribers != 0 || b.Rate != 0:
		v := variant{b.or(b.Subscribers, 1, 1), b.Rate}
		if v.rate == 0 {
			v.rate = 10_000
		}
		variants = []variant{v}
	case b.Smoke:
		variants = []variant{{2, 1000}}
	}
	for _, v := range variants {
		var p50, p99 *Target
		switch {
		case v.subscribers == 1:
			p50 = atMostRatio(1.8)
		case v.subscribers <= 50 && v.rate <= 10_000:
			p50 = atMostTime(700 * time.Microsecond)
		case v.subscribers <= 50 && v.rate <= 100_000:
			p50, p99 = atMostTime(time.Millisecond), atMostTime(10*time.Millisecond)
		}
		if err := b.latencyOf(ctx, v.subscribers, v.rate, p50, p99); err != nil {
			return err
		}
	}
	return nil
}

// latencies are the percentiles of several runs in seconds.
type latencies struct{ p50, p99, p999, max []float64 }

func (l *latencies) add(x latency) {
	l.p50 = append(l.p50, x.P50.Seconds())
	l.p99 = append(l.p99, x.P99.Seconds())
	l.p999 = append(l.p999, x.P999.Seconds())
	l.max = append(l.max, x.Max.Seconds())
}

func (b *bench) latencyOf(ctx context.Context, n int, rate float64, p50, p99 *Target) error {
	name := fmt.Sprintf("%s, %s", subscribers(n), rateText(rate))
	p, err := b.pair(ctx, pairArgs{})
	if err != nil {
		return err
	}
	if err := p.subscribe(ctx, subscribeArgs{N: n, Latency: true}); err != nil {
		return err
	}
	if err := p.profile(ctx, name); err != nil {
		return err
	}
	pace := pacedArgs{Rate: rate, Duration: b.Duration}
	var ours, plain latencies
	var cost costs
	var late []float64
	due := uint64(0)
	err = b.each(name, func() error {
		_, pong, err := b.ping(ctx, pace)
		if err != nil {
			return err
		}
		plain.add(pong.Latency)
		sent, got, err := p.paced(ctx, pace, n, &due)
		if err != nil {
			return err
		}
		ours.add(got.Latency)
		late = append(late, sent.Late.Seconds())
		cost.add(&flooded{floodResult{Deliveries: sent.Ticks * uint64(n), CPU: sent.CPU}, got.CPU})
		return nil
	})
	if err := errors.Join(err, p.close(ctx)); err != nil {
		return err
	}
	b.tell(&Figure{
		Name: name + ", p50", Unit: Seconds, Measured: NewSpread(ours.p50), Limit: NewSpread(plain.p50), Against: "ping", Target: p50,
		PublisherCPU: NewSpread(cost.publisher), SubscriberCPU: NewSpread(cost.subscriber),
		Detail: map[string]float64{"due_to_published_p50_s": NewSpread(late).Median},
	})
	b.tell(&Figure{
		Name: name + ", p99", Unit: Seconds, Measured: NewSpread(ours.p99), Limit: NewSpread(plain.p99), Against: "ping", Target: p99,
		Detail: map[string]float64{"p99.9_s": NewSpread(ours.p999).Median, "max_s": NewSpread(ours.max).Median},
	})
	return nil
}

// paced publishes at a given rate and waits until n subscribers have everything; due is the number of ticks
// owed to them since they joined.
func (p *pair) paced(ctx context.Context, a pacedArgs, n int, due *uint64) (sent pacedResult, got collectResult, err error) {
	if _, err = call[nothing](ctx, p.subs, "begin", nothing{}); err != nil {
		return sent, got, err
	}
	if sent, err = call[pacedResult](ctx, p.pub, "paced", a); err != nil {
		return sent, got, err
	}
	*due += sent.Ticks * uint64(n)
	if _, err = call[nothing](ctx, p.subs, "await", *due); err != nil {
		return sent, got, err
	}
	got, err = call[collectResult](ctx, p.subs, "collect", nothing{})
	return sent, got, err
}

func rateText(perSecond float64) string {
	return (&Figure{Unit: TicksPerSecond}).value(perSecond)
}

// countText formats a number of ticks, such as 10.0M ticks.
func countText(n int) string { return scaled(float64(n), 1000, "", "k", "M", "G") + " ticks" }

// catchUp measures a late joiner that reads everything from the journal.
func (b *bench) catchUp(ctx context.Context) error {
	count := uint64(b.or(b.Count, 10_000_000, 50_000))
	const memory = 1 << 20 // the minimum, so that only the end can be read from memory
	p, err := b.pair(ctx, pairArgs{retain: -1, memory: memory})
	if err != nil {
		return err
	}
	b.Progress("catchup: filling the journal")
	filled, err := call[floodResult](ctx, p.pub, "flood", floodArgs{Count: count, Batch: 100})
	if err != nil {
		return err
	}
	files, err := call[segments](ctx, p.pub, "segments", p.dir)
	if err != nil {
		return err
	}
	args := catchUpArgs{Addr: p.Addr, From: uint64(p.info.Instruments) + 1, Count: filled.Ticks}
	name := countText(int(count))
	if _, err := call[catchUpResult](ctx, p.subs, "catchup", args); err != nil { // warm-up
		return err
	}
	if err := p.profile(ctx, name); err != nil {
		return err
	}
	var measured, limit []float64
	var subscriber []float64
	err = b.each(name, func() error {
		raw, err := b.sendFile(ctx, files)
		if err != nil {
			return err
		}
		r, err := call[catchUpResult](ctx, p.subs, "catchup", args)
		if err != nil {
			return err
		}
		measured = append(measured, float64(args.Count)/r.Elapsed.Seconds())
		limit = append(limit, float64(args.Count)/raw.Seconds())
		subscriber = append(subscriber, r.CPU.Seconds()/float64(args.Count))
		return nil
	})
	if err := errors.Join(err, p.close(ctx)); err != nil {
		return err
	}
	b.tell(&Figure{
		Name: name, Unit: TicksPerSecond, Measured: NewSpread(measured), Limit: NewSpread(limit), Against: "sendfile",
		Target: atLeastRatio(0.7), SubscriberCPU: NewSpread(subscriber),
		Detail: map[string]float64{"journal_bytes": float64(files.Size)},
	})
	return nil
}

// sendFile sends files through a socket.
func (b *bench) sendFile(ctx context.Context, files segments) (time.Duration, error) {
	var sent sendResult
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		sent, err = call[sendResult](ctx, b.sender, "sendfile", files.Paths)
		return err
	})
	both.Go(func() (err error) {
		_, err = call[receiveResult](ctx, b.receiver, "receive", receiveArgs{Addr: b.rawAddr, Sockets: 1})
		return err
	})
	return sent.Elapsed, both.Wait()
}

// pause waits for a random time, so that outages do not come in step with anything.
func (b *bench) pause(ctx context.Context) error {
	select {
	case <-time.After(20*time.Millisecond + rand.N(20*time.Millisecond)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reconnect cuts the connection of a subscriber repeatedly, with all defaults, and then makes outages of every kind.
func (b *bench) reconnect(ctx context.Context) error {
	cuts := b.or(b.Cuts, 200, 3)
	rate := b.Rate
	if rate == 0 {
		rate = 10_000
	}
	p, err := b.pair(ctx, pairArgs{})
	if err != nil {
		return err
	}
	if err := p.subscribe(ctx, subscribeArgs{N: 1}); err != nil {
		return err
	}
	if err := p.profile(ctx, "cuts"); err != nil {
		return err
	}
	// Publish in the background, until the cuts are over.
	var publishing errgroup.Group
	ending := make(chan struct{})
	due := uint64(0)
	publishing.Go(func() error {
		for {
			sent, err := call[pacedResult](ctx, p.pub, "paced", pacedArgs{Rate: rate, Duration: min(b.Duration, time.Second)})
			due += sent.Ticks
			if err != nil {
				return err
			}
			select {
			case <-ending:
				return nil
			default:
			}
		}
	})
	var first, live []time.Duration
	cutAll := func() error {
		for i := range cuts {
			b.Progress(fmt.Sprintf("reconnect: cut %d of %d", i+1, cuts))
			if err := b.pause(ctx); err != nil {
				return err
			}
			at, err := call[int64](ctx, p.pub, "cut", nothing{})
			if err != nil {
				return err
			}
			r, err := call[recovery](ctx, p.subs, "recovery", i+1)
			if err != nil {
				return err
			}
			first, live = append(first, time.Duration(r.First-at)), append(live, time.Duration(r.Live-at))
		}
		return nil
	}
	err = cutAll()
	close(ending)
	err = errors.Join(err, publishing.Wait())
	var lost uint64
	if err == nil {
		lost, err = call[uint64](ctx, p.subs, "lost", due)
	}
	if err == nil { // before close, which treats a loss as an error
		_, err = call[uint64](ctx, p.subs, "unsubscribe", nothing{})
	}
	if err := errors.Join(err, p.close(ctx)); err != nil {
		return err
	}
	name := fmt.Sprintf("%d cuts at %s", cuts, rateText(rate))
	for _, f := range []struct {
		what     string
		times    []time.Duration
		p50, p99 *Target
	}{
		{"first tick", first, atMostTime(time.Millisecond), atMostTime(5 * time.Millisecond)},
		{"live", live, nil, nil},
	} {
		detail := map[string]float64{"max_s": quantile(f.times, 1).Seconds()}
		b.tell(&Figure{Name: name + ", " + f.what + ", p50", Unit: Seconds, Measured: one(quantile(f.times, 0.50)), Target: f.p50, Detail: detail})
		b.tell(&Figure{Name: name + ", " + f.what + ", p99", Unit: Seconds, Measured: one(quantile(f.times, 0.99)), Target: f.p99, Detail: detail})
	}
	b.tell(&Figure{Name: name + ", ticks lost", Unit: Ticks, Measured: NewSpread([]float64{float64(lost)}), Target: atMost(0)})
	return b.outages(ctx, max(1, cuts/10), rate)
}

// one returns the spread of a single measured time.
func one(d time.Duration) *Spread { return NewSpread([]float64{d.Seconds()}) }
