package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"tickfeed/feed/nouns"
	"tickfeed/publisher"
)

// snapshot measures a late joiner until it has the complete state.
func (b *bench) snapshot(ctx context.Context) error {
	n := b.or(b.Instruments, 10_000, 100)
	if len(b.Ticks) > 0 {
		n = 0 // the number in the files
	}
	p, err := b.pair(ctx, pairArgs{instruments: n})
	if err != nil {
		return err
	}
	// Every instrument has a definition; publishing the set once also gives most of them a quote.
	if _, err := call[floodResult](ctx, p.pub, "flood", floodArgs{Count: uint64(p.info.Ticks), Batch: 100}); err != nil {
		return err
	}
	size, err := call[int64](ctx, p.subs, "snapshotsize", p.Addr)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s, %s", nouns.Count(p.info.Instruments, "instrument"), (&Figure{Unit: Bytes}).value(float64(size)))
	if err := p.profile(ctx, "joins"); err != nil {
		return err
	}
	var ours, plain, p99 []float64
	joins := b.or(0, 50, 3)
	err = b.each(name, func() error {
		var times, raw []time.Duration
		for range joins {
			d, err := b.ask(ctx, size)
			if err != nil {
				return err
			}
			raw = append(raw, d)
			if d, err = call[time.Duration](ctx, p.subs, "snapshot", snapshotArgs{Addr: p.Addr, Instruments: p.info.Instruments}); err != nil {
				return err
			}
			times = append(times, d)
		}
		ours, plain = append(ours, quantile(times, 0.5).Seconds()), append(plain, quantile(raw, 0.5).Seconds())
		p99 = append(p99, quantile(times, 0.99).Seconds())
		return nil
	})
	if err := errors.Join(err, p.close(ctx)); err != nil {
		return err
	}
	b.tell(&Figure{
		Name: name + ", p50", Unit: Seconds, Measured: NewSpread(ours), Limit: NewSpread(plain), Against: "same bytes",
		Target: atMostTime(3 * time.Millisecond), Detail: map[string]float64{"p99_s": NewSpread(p99).Median},
	})
	return nil
}

// ask measures a connection on which the given number of bytes is requested.
func (b *bench) ask(ctx context.Context, size int64) (d time.Duration, err error) {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		_, err := call[nothing](ctx, b.sender, "answer", size)
		return err
	})
	both.Go(func() (err error) {
		d, err = call[time.Duration](ctx, b.receiver, "ask", askArgs{Addr: b.rawAddr, Size: size})
		return err
	})
	err = both.Wait()
	return d, err
}

// filter measures the publisher's cost of a tick if every subscriber wants different symbols, minus the cost
// without subscribers.
func (b *bench) filter(ctx context.Context) error {
	n, symbols := b.or(b.Subscribers, 100, 4), b.or(b.Symbols, 10, 2)
	alone, err := b.pair(ctx, pairArgs{})
	if err != nil {
		return err
	}
	p, err := b.pair(ctx, pairArgs{})
	if err != nil {
		return err
	}
	wanted := make([]int, p.info.Instruments)
	filters := make([][]string, n)
	for i := range filters {
		for j := range min(symbols, len(wanted)) {
			in := (i*symbols + j) % len(wanted)
			filters[i] = append(filters[i], p.info.Symbols[in])
			wanted[in]++
		}
	}
	if err := p.subscribe(ctx, subscribeArgs{N: n, Acks: p.Acks, Filters: filters}); err != nil {
		return err
	}
	name := fmt.Sprintf("%d subscribers × %d of %d symbols", n, symbols, p.info.Instruments)
	flood := floodArgs{Duration: b.Duration, Batch: 100, Wanted: wanted, Window: window(1)}
	plain := floodArgs{Duration: b.Duration, Batch: 100}
	for i, x := range []*pair{p, alone} { // warm-up
		a := []floodArgs{flood, plain}[i]
		a.Duration /= 4
		if _, err := x.flood(ctx, a); err != nil {
			return err
		}
	}
	if err := p.profile(ctx, "filtered"); err != nil {
		return err
	}
	var extra, with, without, rate []float64
	err = b.each(name, func() error {
		bare, err := alone.flood(ctx, plain)
		if err != nil {
			return err
		}
		f, err := p.flood(ctx, flood)
		if err != nil {
			return err
		}
		a, c := f.CPU.Seconds()/float64(f.Ticks), bare.CPU.Seconds()/float64(bare.Ticks)
		with, without, extra = append(with, a), append(without, c), append(extra, a-c)
		rate = append(rate, float64(f.Ticks)/f.Elapsed.Seconds())
		return nil
	})
	if err := errors.Join(err, p.close(ctx), alone.close(ctx)); err != nil {
		return err
	}
	b.tell(&Figure{
		Name: name, Unit: CPUSeconds, Measured: NewSpread(extra), Target: atMost(30e-9),
		Detail: map[string]float64{
			"with_subscribers_s": NewSpread(with).Median, "without_subscribers_s": NewSpread(without).Median,
			"published_ticks_per_s": NewSpread(rate).Median,
		},
	})
	return nil
}

// memory measures the publisher's memory, alone with a full log and per subscriber, and the kernel's memory for
// the sockets of stalled subscribers, on both sides.
func (b *bench) memory(ctx context.Context) error {
	idle, stalled := b.or(b.Subscribers, 1000, 5), b.or(b.Subscribers, 100, 5)
	logMemory := int64(b.or(0, publisher.DefaultMemory, publisher.MinMemory))
	var fixed, perIdle, perStalled, perSocket, perPeer []float64
	err := b.each("subscribers", func() error {
		p, err := b.pair(ctx, pairArgs{size: smokeSetSize, memory: logMemory})
		if err != nil {
			return err
		}
		// This exceeds the log in memory, so that all of it is in use.
		fill := floodArgs{Count: uint64(b.or(0, 4_000_000, 100_000)), Batch: 100}
		if _, err := call[floodResult](ctx, p.pub, "flood", fill); err != nil {
			return err
		}
		bare, err := call[int64](ctx, p.pub, "resident", nothing{})
		if err != nil {
			return err
		}
		if err := p.subscribe(ctx, subscribeArgs{N: idle}); err != nil {
			return err
		}
		if _, err := call[pacedResult](ctx, p.pub, "paced", pacedArgs{Rate: 1000, Duration: b.Duration / 4}); err != nil {
			return err
		}
		withIdle, err := call[int64](ctx, p.pub, "resident", nothing{})
		if err != nil {
			return err
		}
		if err := p.close(ctx); err != nil {
			return err
		}
		fixed = append(fixed, float64(bare-logMemory))
		perIdle = append(perIdle, float64(withIdle-bare)/float64(idle))

		p, err = b.pair(ctx, pairArgs{size: smokeSetSize, memory: logMemory})
		if err != nil {
			return err
		}
		if _, err := call[floodResult](ctx, p.pub, "flood", fill); err != nil {
			return err
		}
		if bare, err = call[int64](ctx, p.pub, "resident", nothing{}); err != nil {
			return err
		}
		var socket, peer [2]int64 // before and after
		if socket[0], peer[0], err = p.kernel(ctx); err != nil {
			return err
		}
		if err := p.subscribe(ctx, subscribeArgs{N: stalled, Stalled: true}); err != nil {
			return err
		}
		// This far exceeds what the sockets hold, and the log in memory: the subscribers would have to read the
		// journal.
		if _, err := call[floodResult](ctx, p.pub, "flood", fill); err != nil {
			return err
		}
		withStalled, err := call[int64](ctx, p.pub, "resident", nothing{})
		if err != nil {
			return err
		}
		if socket[1], peer[1], err = p.kernel(ctx); err != nil {
			return err
		}
		perStalled = append(perStalled, float64(withStalled-bare)/float64(stalled))
		perSocket = append(perSocket, float64(socket[1]-socket[0])/float64(stalled))
		perPeer = append(perPeer, float64(peer[1]-peer[0])/float64(stalled))
		return p.close(ctx)
	})
	if err != nil {
		return err
	}
	b.tell(&Figure{Name: "publisher, beside its log in memory", Unit: Bytes, Measured: NewSpread(fixed), Target: atMost(64 << 20)})
	b.tell(&Figure{Name: fmt.Sprintf("each of %d caught up", idle), Unit: Bytes, Measured: NewSpread(perIdle), Target: atMost(4 << 10)})
	// The cost of a stalled subscriber is bounded as a whole: the process's memory and the kernel's.
	whole := make([]float64, len(perStalled))
	for i := range whole {
		whole[i] = perStalled[i] + perSocket[i]
	}
	b.tell(&Figure{Name: fmt.Sprintf("each of %d stalled", stalled), Unit: Bytes, Measured: NewSpread(perStalled)})
	b.tell(&Figure{Name: "its socket, in the kernel", Unit: Bytes, Measured: NewSpread(perSocket)})
	b.tell(&Figure{Name: "both together", Unit: Bytes, Measured: NewSpread(whole), Target: atMost(256 << 10)})
	b.tell(&Figure{Name: "the subscriber's socket", Unit: Bytes, Measured: NewSpread(perPeer)})
	return nil
}

// kernel returns the kernel's memory for the sockets of the publisher and of the subscribers.
func (p *pair) kernel(ctx context.Context) (publisher, subscribers int64, err error) {
	if publisher, err = call[int64](ctx, p.pub, "kernel", nothing{}); err != nil {
		return 0, 0, err
	}
	subscribers, err = call[int64](ctx, p.subs, "kernel", nothing{})
	return publisher, subscribers, err
}

// idle measures the cores used by a quiet feed.
func (b *bench) idle(ctx context.Context) error {
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
	if err := p.profile(ctx, rateText(rate)); err != nil {
		return err
	}
	pace := pacedArgs{Rate: rate, Duration: b.Duration}
	var pub, sub, send, receive []float64
	due := uint64(0)
	err = b.each(rateText(rate), func() error {
		ping, pong, err := b.ping(ctx, pace)
		if err != nil {
			return err
		}
		sent, got, err := p.paced(ctx, pace, 1, &due)
		if err != nil {
			return err
		}
		seconds := sent.Elapsed.Seconds()
		pub, sub = append(pub, sent.CPU.Seconds()/seconds), append(sub, got.CPU.Seconds()/seconds)
		send, receive = append(send, ping.CPU.Seconds()/ping.Elapsed.Seconds()), append(receive, pong.CPU.Seconds()/ping.Elapsed.Seconds())
		return nil
	})
	if err := errors.Join(err, p.close(ctx)); err != nil {
		return err
	}
	b.tell(&Figure{Name: rateText(rate) + ", publisher", Unit: Cores, Measured: NewSpread(pub), Limit: NewSpread(send), Against: "ping", Target: atMost(0.5)})
	b.tell(&Figure{Name: rateText(rate) + ", subscriber", Unit: Cores, Measured: NewSpread(sub), Limit: NewSpread(receive), Against: "pong", Target: atMost(0.35)})
	return nil
}

// slow compares the latency of healthy subscribers with and without stalled ones.
func (b *bench) slow(ctx context.Context) error {
	n := b.or(b.Subscribers, 100, 3)
	rate := b.Rate
	if rate == 0 {
		rate = float64(b.or(0, 1000, 1000))
	}
	var pairs [2]*pair
	for i := range pairs {
		p, err := b.pair(ctx, pairArgs{})
		if err != nil {
			return err
		}
		if err := p.subscribe(ctx, subscribeArgs{N: n, Latency: true}); err != nil {
			return err
		}
		pairs[i] = p
	}
	// The stalled subscribers are a separate process, and so far behind that they would have to read the
	// journal.
	stalled := &pair{b: b, openResult: pairs[0].openResult}
	var err error
	if stalled.subs, err = b.start(roleSubscriber); err != nil {
		return err
	}
	if err := stalled.subscribe(ctx, subscribeArgs{N: n, Stalled: true}); err != nil {
		return err
	}
	due := [2]uint64{}
	fill := floodArgs{Count: uint64(b.or(0, 4_000_000, 20_000)), Batch: 100}
	for i, p := range pairs {
		filled, err := call[floodResult](ctx, p.pub, "flood", fill)
		if err != nil {
			return err
		}
		due[i] = filled.Ticks * uint64(n)
		if _, err := call[nothing](ctx, p.subs, "await", due[i]); err != nil {
			return err
		}
	}
	if err := pairs[0].profile(ctx, "with-stalled"); err != nil {
		return err
	}
	var of [2]latencies
	name := fmt.Sprintf("%d healthy and %d stalled, %s", n, n, rateText(rate))
	err = b.each(name, func() error {
		for _, i := range []int{1, 0} {
			_, got, err := pairs[i].paced(ctx, pacedArgs{Rate: rate, Duration: b.Duration}, n, &due[i])
			if err != nil {
				return err
			}
			of[i].add(got.Latency)
		}
		return nil
	})
	stalled.subs.kill()
	if err := errors.Join(err, pairs[0].close(ctx), pairs[1].close(ctx)); err != nil {
		return err
	}
	b.tell(&Figure{Name: name + ", p50", Unit: Seconds, Measured: NewSpread(of[0].p50), Limit: NewSpread(of[1].p50), Against: "none stalled"})
	b.tell(&Figure{Name: name + ", p99", Unit: Seconds, Measured: NewSpread(of[0].p99), Limit: NewSpread(of[1].p99), Against: "none stalled", Target: atMostRatio(1.1)})
	return nil
}

// connections measures the cores used by very many connections.
func (b *bench) connections(ctx context.Context) error {
	n := b.or(b.Subscribers, 10_000, 20)
	rate := b.Rate
	if rate == 0 {
		rate = float64(b.or(0, 1, 20))
	}
	p, err := b.pair(ctx, pairArgs{instruments: 10, size: smokeSetSize})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s, %s", subscribers(n), rateText(rate))
	b.Progress("connections: connecting")
	const atOnce = 500
	for had := 0; had < n; had += atOnce {
		if err := p.subscribe(ctx, subscribeArgs{N: min(atOnce, n-had)}); err != nil {
			return err
		}
		b.Progress(fmt.Sprintf("connections: %d of %d", min(had+atOnce, n), n))
	}
	if err := p.profile(ctx, name); err != nil {
		return err
	}
	var pub, sub []float64
	due := uint64(0)
	// Publish at least a few ticks.
	pace := pacedArgs{Rate: rate, Duration: max(b.Duration, time.Duration(3/rate*float64(time.Second)))}
	err = b.each(name, func() error {
		sent, got, err := p.paced(ctx, pace, n, &due)
		if err != nil {
			return err
		}
		seconds := pace.Duration.Seconds()
		pub, sub = append(pub, sent.CPU.Seconds()/seconds), append(sub, got.CPU.Seconds()/seconds)
		return nil
	})
	held, residentErr := call[int64](ctx, p.pub, "resident", nothing{})
	if err := errors.Join(err, p.close(ctx)); err != nil {
		return err
	}
	f := &Figure{
		Name: name + ", publisher", Unit: Cores, Measured: NewSpread(pub), Target: atMost(0.3),
		Detail: map[string]float64{"subscribers_cores": NewSpread(sub).Median},
	}
	if residentErr == nil {
		f.Detail["publisher_resident_bytes"] = float64(held)
	}
	b.tell(f)
	return nil
}

// simDepth is the number of levels on each side of the books of the second figure of sim.
const simDepth = 5

// sim measures the simulated market alone, without levels and with them.
func (b *bench) sim(ctx context.Context) error {
	n := b.or(b.Instruments, 1000, 100)
	p, err := b.start(rolePublisher)
	if err != nil {
		return err
	}
	info, err := call[setInfo](ctx, p, "load", loadArgs{Instruments: n, Size: b.or(0, setSize, smokeSetSize)})
	if err != nil {
		return err
	}
	b.tellMachine(info)
	for _, c := range []struct {
		depth  int
		name   string
		target *Target
	}{
		{0, nouns.Count(n, "instrument"), atLeast(8e6)},
		{simDepth, fmt.Sprintf("%s, depth %d", nouns.Count(n, "instrument"), simDepth), atLeast(4e6)},
	} {
		if err = b.profile(ctx, p, c.name); err != nil {
			break
		}
		var rate []float64
		err = b.each(c.name, func() error {
			r, err := call[simulateResult](ctx, p, "simulate", simulateArgs{Duration: b.Duration, Instruments: n, Depth: c.depth})
			rate = append(rate, float64(r.Ticks)/r.Elapsed.Seconds())
			return err
		})
		if err != nil {
			break
		}
		b.tell(&Figure{Name: c.name, Unit: TicksPerSecond, Measured: NewSpread(rate), Target: c.target})
	}
	return errors.Join(err, b.end(ctx, p))
}

// scale shows that the cost grows only with the work.
func (b *bench) scale(ctx context.Context) error {
	instruments, readers := []int{1, 10, 100, 1000, 10_000}, []int{1, 10, 100, 1000}
	if b.Smoke {
		instruments, readers = []int{1, 10}, []int{1, 2}
	}
	if len(b.Ticks) == 0 {
		for _, n := range instruments {
			if err := b.floods(ctx, nouns.Count(n, "instrument"), pairArgs{instruments: n}, 1, 100, nil); err != nil {
				return err
			}
		}
	}
	for _, n := range readers {
		if err := b.floods(ctx, subscribers(n), pairArgs{}, n, 100, nil); err != nil {
			return err
		}
	}
	return nil
}

// age shows that ticks published earlier cost neither time nor memory.
func (b *bench) age(ctx context.Context) error {
	count := b.or(b.Count, 350_000_000, 100_000)
	p, err := b.pair(ctx, pairArgs{})
	if err != nil {
		return err
	}
	if err := p.subscribe(ctx, subscribeArgs{N: 1, Acks: p.Acks}); err != nil {
		return err
	}
	flood := floodArgs{Duration: b.Duration, Batch: 100, Owed: 1, Window: window(1)}
	if _, err := p.flood(ctx, flood); err != nil { // warm-up
		return err
	}
	var rate, memory [2][]float64
	var cost costs
	measure := func(when int, what string) error {
		return b.each(what, func() error {
			f, err := p.flood(ctx, flood)
			if err != nil {
				return err
			}
			rate[when] = append(rate[when], f.perSecond())
			if when == 1 {
				cost.add(&f)
			}
			if resident, err := call[int64](ctx, p.pub, "resident", nothing{}); err == nil { // an error if the system does not support it
				memory[when] = append(memory[when], float64(resident))
			}
			return nil
		})
	}
	name := "after " + countText(count)
	err = measure(0, "fresh")
	if err == nil {
		b.Progress(b.scenario + ": publishing " + countText(count))
		_, err = p.flood(ctx, floodArgs{Count: uint64(count), Batch: 100, Owed: 1, Window: window(1)})
	}
	if err == nil {
		err = measure(1, name)
	}
	if err := errors.Join(err, p.close(ctx)); err != nil {
		return err
	}
	b.tell(&Figure{
		Name: name, Unit: TicksPerSecond, Measured: NewSpread(rate[1]), Limit: NewSpread(rate[0]), Against: "fresh",
		PublisherCPU: NewSpread(cost.publisher), SubscriberCPU: NewSpread(cost.subscriber),
		Detail: map[string]float64{"published_before_bytes": p.info.Size * float64(count)},
	})
	if len(memory[1]) > 0 {
		b.tell(&Figure{
			Name: name + ", publisher", Unit: Bytes, Measured: NewSpread(memory[1]), Limit: NewSpread(memory[0]), Against: "fresh",
		})
	}
	return nil
}
