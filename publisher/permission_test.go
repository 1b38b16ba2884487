package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

// directory is the permissions of users, by token, with everything that they ever were.
type directory struct {
	mu  sync.Mutex
	was map[string][]version
}

type version struct {
	from   time.Time
	permit *publisher.Permission // nil: the user is unknown
}

func (d *directory) set(token string, p *publisher.Permission) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.was[token] = append(d.was[token], version{time.Now(), p})
}

func (d *directory) authorize(l publisher.Login) (*publisher.Permission, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for token, was := range d.was {
		if p := was[len(was)-1].permit; p != nil && l == publisher.NewLogin(codec.Token(token), "") {
			return p, nil
		}
	}
	return nil, errors.New("who is that?")
}

// since returns the permissions that were in force at any time since from.
func (d *directory) since(token string, from time.Time) (all []*publisher.Permission) {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.was[token]
	for i, v := range was {
		if i+1 == len(was) || was[i+1].from.After(from) {
			all = append(all, v.permit)
		}
	}
	return all
}

// A printed is a tick as it was published.
type printed struct {
	tick feed.Tick
	at   time.Time
}

// A market publishes ticks of every kind, and knows what it published.
type market struct {
	*world
	r     *rand.Rand
	mu    sync.Mutex
	names map[feed.InstrumentID]feed.Definition
	all   map[uint64]printed
	next  uint64
}

var (
	marketSymbols = []string{"AA", "AB", "ABC", "B", "BA", "C"}
	marketVenues  = []string{"", "X", "XY"}
)

func (m *market) list(symbol, venue string) {
	d := feed.Definition{Symbol: symbol, Venue: venue}
	m.mu.Lock() // also while it is published, so that nobody looks for it before it is recorded
	defer m.mu.Unlock()
	id, err := m.pub.Define(context.Background(), d)
	require.NoError(m.t, err)
	if _, had := m.names[id]; !had {
		m.names[id] = d
		m.all[m.next] = printed{feed.Tick{Kind: feed.KindDefinition, Instrument: id}, time.Now()}
		m.next++
	}
}

func (m *market) print(n int) {
	m.mu.Lock()
	ticks := make([]feed.Tick, n)
	for i := range ticks {
		id, p := feed.InstrumentID(m.r.IntN(len(m.names))), int64(m.r.IntN(50))
		switch m.r.IntN(5) {
		case 0:
			ticks[i] = feed.Trade{Price: 100 + p, Size: 1, Side: feed.SideBuy}.Tick(id, noon)
		case 1:
			ticks[i] = feed.Level{Side: feed.SideBuy, Price: 100 + p, Size: p}.Tick(id, noon)
		case 2:
			ticks[i] = feed.ClearTick(id, noon, feed.SideBuy)
		default:
			ticks[i] = feed.Quote{Bid: 100 + p, BidSize: 1, Ask: 101 + p, AskSize: 2}.Tick(id, noon)
		}
		m.all[m.next] = printed{ticks[i], time.Now()}
		m.next++
	}
	m.mu.Unlock()
	require.NoError(m.t, m.pub.Publish(context.Background(), ticks))
}

// permits is what a permission says, without the code under test.
func permits(p *publisher.Permission, d feed.Definition, k feed.Kind) bool {
	if p == nil || p.Depth == publisher.DepthL1 && (k == feed.KindLevel || k == feed.KindClear) {
		return false
	}
	return p.Allow.Match(&d) && (len(p.Deny) == 0 || !p.Deny.Match(&d))
}

// A spy is a client that connects again and again, with any hello, and says what it was sent that its user may not see, and what
// it was not sent that its user may see.
type spy struct {
	m       *market
	d       *directory
	r       *rand.Rand
	token   string
	session feed.Lineage
	next    uint64 // the position; 0 for none
	of      codec.Filter
	whole   bool                       // the state is that as of the position, of all that of selects
	defined map[feed.InstrumentID]bool // in the state
	counts  *counts
}

// counts is what really happened in a run.
type counts struct{ ticks, entries, narrowed, refused, goodbyes, denied, gone, jumps, resumed int }

func (c *counts) add(o *counts) {
	c.ticks += o.ticks
	c.entries += o.entries
	c.narrowed += o.narrowed
	c.refused += o.refused
	c.goodbyes += o.goodbyes
	c.denied += o.denied
	c.gone += o.gone
	c.jumps += o.jumps
	c.resumed += o.resumed
}

// Times within which what changes is in force.
const (
	followTime = 1100 * time.Millisecond // a new permission
	skipTime   = 3 * time.Second         // what was left out is reported
	pauseTime  = 1200 * time.Millisecond // what a spy reads after it paused may have been sent before
)

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func somePatterns(r *rand.Rand, most int) (f []string) {
	for range r.IntN(most + 1) {
		f = append(f, pick(r, "A*", "AA", "AB", "?", "B*", "*C", "A?", "AB*@X", "*@X", "*@X*", "AA@", "C@XY", "B@X", "BA", "ABC@XY", "Z*"))
	}
	return f
}

func somePermission(r *rand.Rand, user string) *publisher.Permission {
	if r.IntN(8) == 0 {
		return nil
	}
	p := &publisher.Permission{User: user, Depth: pick(r, publisher.DepthL1, publisher.DepthL2, publisher.DepthL2)}
	p.Allow, p.Deny = somePatterns(r, 3), somePatterns(r, 2)
	p.History = pick(r, 0, 0, 2*time.Second, 10*time.Second, publisher.NoHistory)
	if r.IntN(4) == 0 {
		p.Policies = []codec.SlowPolicy{codec.SlowAll}
	}
	return p
}

func (s *spy) hello() *codec.Hello {
	f, _ := codec.NewFilter(somePatterns(s.r, 3))
	h := &codec.Hello{MinVersion: 1, MaxVersion: 1, Token: codec.Token(s.token), Filter: f, Slow: pick(s.r, codec.SlowAll, codec.SlowLatest), MaxLag: 200 * time.Millisecond}
	if s.r.IntN(3) > 0 {
		h.Features = []string{codec.FeatureNarrow}
	}
	if s.r.IntN(2) == 0 {
		h.Filter = s.of
	}
	s.m.mu.Lock()
	head := s.m.next
	s.m.mu.Unlock()
	h.Start = pick(s.r, codec.Start{}, codec.Start{Kind: codec.StartLive}, codec.Start{Kind: codec.StartBeginning},
		codec.Start{Kind: codec.StartSeq, Value: 1 + s.r.Uint64N(head)},
		codec.Start{Kind: codec.StartTime, Value: uint64(time.Now().Add(-time.Duration(s.r.IntN(20)) * time.Second).UnixNano())})
	if s.next > 0 && s.r.IntN(3) > 0 {
		h.Position = codec.Position{Lineage: s.session, Next: s.next}
		h.HasState = s.whole && slices.Equal(s.of, h.Filter)
	}
	return h
}

// run connects once, for a while. It returns what is wrong.
func (s *spy) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.r.IntN(int(8*time.Second))))
	defer cancel()
	nc, err := s.m.connect(ctx, "pub:1")
	if err != nil {
		return nil
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	h := s.hello()
	send := func(m codec.Message) {
		b, _ := codec.Append(nil, m)
		_, _ = nc.Write(b)
	}
	send(h)
	l := &spyLine{spy: s, h: h, asked: h.Filter}
	r := codec.NewReader(nc, 0)
	for {
		t, raw, err := r.Next()
		if err != nil {
			return nil
		}
		reply, err := l.message(t, raw)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s asked for %v from %v, at %v: %w", s.token, l.asked, h.Start.Kind, time.Now().Format("05.000"), err)
		}
		if reply != nil {
			send(reply)
		}
		if s.r.IntN(25) == 0 && time.Since(l.paused) > 3*pauseTime {
			l.paused = time.Now()
			time.Sleep(time.Duration(s.r.IntN(int(pauseTime))))
		}
		if l.settled && s.r.IntN(30) == 0 && l.request == nil {
			f, _ := codec.NewFilter(somePatterns(s.r, 3))
			l.requests++
			l.request = &codec.Subscribe{Request: l.requests, Filter: f}
			s.whole = false // until the answer
			send(l.request)
		}
	}
}

// A spyLine is one connection of a spy.
type spyLine struct {
	*spy
	h        *codec.Hello
	asked    codec.Filter
	seed     uint32
	at       uint64
	since    time.Time // of the login
	history  time.Duration
	limited  bool // the state has not all that asked selects
	settled  bool // no snapshot is due, and the position is reached
	begin    *codec.SnapshotBegin
	request  *codec.Subscribe
	requests uint64
	changed  time.Time // when the filter changed
	paused   time.Time // when it last paused
}

func (l *spyLine) message(t codec.Type, raw []byte) (reply codec.Message, err error) {
	switch t {
	case codec.TypePacket:
		return nil, l.packet(raw)
	case codec.TypeSnapshotPart:
		return nil, l.part(raw)
	}
	m, err := codec.Decode(raw)
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *codec.Refusal:
		l.counts.refused++
		return nil, io.EOF
	case *codec.Goodbye:
		l.counts.goodbyes++
		if m.Code == codec.CodeDenied || m.Code == codec.CodeUnauthorized {
			l.counts.denied++
		}
		return nil, io.EOF
	case *codec.Welcome:
		return nil, l.welcome(m)
	case *codec.Heartbeat:
		if m.Covered != l.at {
			return nil, fmt.Errorf("a heartbeat covers %d, the line %d", m.Covered, l.at)
		}
		return &codec.Pulse{Next: l.at, Echo: m.Now}, nil
	case *codec.SnapshotBegin:
		l.begin = m
		if m.Scope != codec.ScopeAdded {
			l.defined = make(map[feed.InstrumentID]bool)
		}
	case *codec.SnapshotEnd:
		l.begin, l.settled = nil, true
		l.whole = l.request == nil && !l.limited && m.Seq == l.at
		l.of = l.asked
	case *codec.Subscribed:
		return nil, l.subscribed(m)
	}
	return nil, nil
}

func (l *spyLine) welcome(w *codec.Welcome) error {
	l.since, l.changed, l.at, l.seed = time.Now(), time.Now(), w.Start, w.Seed
	l.limited = w.Granted != nil
	resumed := w.Reason == codec.StartedResumed
	if !l.h.HasState || !resumed {
		l.whole = false
		l.defined = make(map[feed.InstrumentID]bool)
	} else {
		l.counts.resumed++
	}
	l.settled = l.whole && !l.limited
	l.session, l.next = w.Lineage, w.Start
	if resumed {
		l.next = l.h.Position.Next
	} else if len(l.h.Position.Lineage) == 0 && l.h.Start.Kind == codec.StartSeq {
		l.next = max(w.Start, l.h.Start.Value)
	}
	l.of = l.asked
	now := l.d.since(l.token, time.Now())[0]
	if now == nil {
		return errors.New("welcome, although unknown")
	}
	l.history = now.History
	if len(now.Policies) > 0 && !slices.Contains(now.Policies, l.h.Slow) {
		return errors.New("welcome, although the policy is not permitted")
	}
	if w.Granted == nil && l.asked.All() != (w.Seed == codec.LineSeed(w.Lineage.Current().ID, nil)) {
		return errors.New("the seed of a full line, or of another one")
	}
	return nil
}

func (l *spyLine) subscribed(m *codec.Subscribed) error {
	if m.From != l.at {
		return fmt.Errorf("subscribed from %d, at %d", m.From, l.at)
	}
	if m.Request == 0 {
		l.counts.narrowed++
		if !slices.Contains(l.h.Features, codec.FeatureNarrow) {
			return errors.New("subscribed, unasked, without the feature")
		}
		l.settled, l.whole = m.From == 1, false
	} else {
		l.asked, l.request = l.request.Filter, nil
	}
	l.of = l.asked
	l.seed, l.changed, l.limited = m.Seed, time.Now(), m.Granted != nil
	return nil
}

// may reports whether the user was allowed to see ticks of an instrument at any time in the last moment, or all of the time in a
// longer one.
func (l *spyLine) may(id feed.InstrumentID, k feed.Kind) (ever, always bool) {
	l.m.mu.Lock()
	d := l.m.names[id]
	l.m.mu.Unlock()
	from := time.Now()
	if time.Since(l.paused) < 2*pauseTime {
		from = l.paused
	}
	for _, p := range l.d.since(l.token, from.Add(-followTime)) {
		ever = ever || permits(p, d, k)
	}
	always = time.Since(l.changed) > skipTime && l.asked.Match(&d)
	for _, p := range l.d.since(l.token, from.Add(-skipTime-followTime)) {
		always = always && permits(p, d, k)
	}
	return ever, always
}

func (l *spyLine) packet(raw []byte) error {
	if !codec.VerifyPacket(raw, l.seed) {
		return errors.New("the checksum of a packet")
	}
	h, b, err := codec.ParsePacket(raw)
	if err != nil || h.First != l.at {
		return fmt.Errorf("a packet at %d, the line is at %d: %v", h.First, l.at, err)
	}
	body := codec.PacketBody(&h, b)
	seen := make(map[uint64]bool)
	if err := each(&body, func(t feed.Tick) error {
		seen[t.Seq] = true
		l.counts.ticks++
		if t.Seq < l.next {
			return nil // a repeat, which is passed over
		}
		return l.look(t, t.Seq)
	}); err != nil {
		return err
	}
	l.at = h.First + h.Count
	l.next = max(l.next, l.at)
	if n, _ := body.Gone(); n > 0 || body.Withheld() > 0 {
		l.counts.gone++
		if body.Withheld() > 0 {
			l.counts.jumps++
		}
		l.settled, l.whole = false, false
		return nil
	}
	for seq := h.First; seq < l.at; seq++ {
		l.m.mu.Lock()
		p, ok := l.m.all[seq]
		l.m.mu.Unlock()
		if !ok || seen[seq] {
			continue
		}
		if _, always := l.may(p.tick.Instrument, p.tick.Kind); always {
			return fmt.Errorf("tick %d of %v, which is permitted and was asked for, is left out", seq, l.m.names[p.tick.Instrument])
		}
	}
	return nil
}

// look examines a tick that was sent.
func (l *spyLine) look(t feed.Tick, seq uint64) error {
	l.m.mu.Lock()
	p, ok := l.m.all[seq]
	name := l.m.names[t.Instrument]
	l.m.mu.Unlock()
	ever, _ := l.may(t.Instrument, t.Kind)
	switch {
	case !ok || p.tick.Instrument != t.Instrument || p.tick.Kind != t.Kind:
		return fmt.Errorf("tick %d was not published so", seq)
	case !ever:
		return fmt.Errorf("tick %d, a %v of %v, is forbidden, and was sent", seq, t.Kind, name)
	case l.tooOld(p.at):
		return fmt.Errorf("tick %d of %v is older than %v at the login, and was sent", seq, name, l.history)
	case t.Kind == feed.KindDefinition:
		l.defined[t.Instrument] = true
	case !l.defined[t.Instrument]:
		return fmt.Errorf("tick %d of %v, which was not defined", seq, name)
	}
	return nil
}

// tooOld reports whether what was published at a time was too old for the user at the login.
func (l *spyLine) tooOld(at time.Time) bool {
	return l.history != 0 && at.Before(l.since.Add(-max(0, l.history)-100*time.Millisecond))
}

func (l *spyLine) part(raw []byte) error {
	p, err := codec.ParsePart(raw, l.seed)
	if err != nil {
		return err
	}
	if p.Seq != l.next {
		return fmt.Errorf("a snapshot as of %d, the position is %d", p.Seq, l.next)
	}
	l.m.mu.Lock()
	next, published := l.m.all[p.Seq]
	l.m.mu.Unlock()
	if published && l.tooOld(next.at) {
		return fmt.Errorf("a snapshot as of %d is older than %v at the login", p.Seq, l.history)
	}
	body := codec.PartBody(&p)
	return each(&body, func(t feed.Tick) error {
		l.counts.entries++
		if t.Kind == feed.KindDefinition {
			l.defined[t.Instrument] = true
		}
		if ever, _ := l.may(t.Instrument, t.Kind); !ever {
			return fmt.Errorf("a %v of %v in a snapshot is forbidden", t.Kind, l.m.names[t.Instrument])
		}
		return nil
	})
}

func each(b *codec.Body, f func(feed.Tick) error) error {
	var batch [64]feed.Tick
	for {
		n, err := b.Decode(batch[:])
		if err != nil || n == 0 {
			return err
		}
		for _, t := range batch[:n] {
			if err := f(t); err != nil {
				return err
			}
		}
	}
}

// No tick, definition or entry of a snapshot leaves that a user may not see, by any way: whatever clients ask for, and however
// permissions change meanwhile. What a user may see is never left out. PROTOCOL.md, "Permissions".
func TestNothingForbiddenLeaves(t *testing.T) {
	var total counts
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				total.add(spyOn(t, seed))
			})
		})
	}
	t.Logf("%+v", total)
	for what, n := range map[string]int{
		"ticks": total.ticks, "entries of snapshots": total.entries, "narrowed lines": total.narrowed, "refusals": total.refused,
		"connections ended": total.denied, "gone ranges": total.gone, "jumps": total.jumps, "lines resumed with a state": total.resumed,
	} {
		assert.Positivef(t, n, "%s: nothing was tried", what)
	}
}

// spyOn runs a market with spies for a virtual minute.
func spyOn(t *testing.T, seed uint64) *counts {
	r := rand.New(rand.NewPCG(seed, 0))
	d := &directory{was: make(map[string][]version)}
	m := &market{r: r, names: make(map[feed.InstrumentID]feed.Definition), all: make(map[uint64]printed), next: 1}
	m.world = &world{t: t, net: netsim.New(seed, netsim.Config{Conditions: netsim.Conditions{Buffer: 2 << 10}}), silent: true}
	m.open(publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}, Memory: publisher.MinMemory, SegmentSize: 64 << 10, Heartbeat: 500 * time.Millisecond, Authorize: d.authorize})
	t.Cleanup(m.stop)
	for _, s := range marketSymbols {
		m.list(s, "")
	}
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	var all []*counts
	errs := make(chan error, 1)
	for i := range 6 {
		s := &spy{m: m, d: d, r: rand.New(rand.NewPCG(seed, uint64(i)+1)), token: fmt.Sprint("user", i), counts: new(counts)}
		all = append(all, s.counts)
		d.set(s.token, somePermission(r, s.token))
		done.Go(func() {
			for ctx.Err() == nil {
				if err := s.run(ctx); err != nil {
					select {
					case errs <- err:
					default:
					}
					return
				}
				time.Sleep(time.Duration(s.r.IntN(int(time.Second))))
			}
		})
	}
	for i := range 600 {
		m.print(1 + r.IntN(60))
		if i%40 == 39 {
			m.list(pick(r, marketSymbols...), pick(r, marketVenues...))
		}
		if i%10 == 9 {
			token := fmt.Sprint("user", r.IntN(6))
			d.set(token, somePermission(r, token))
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	done.Wait()
	select {
	case err := <-errs:
		t.Error(err)
	default:
	}
	sum := new(counts)
	for _, c := range all {
		sum.add(c)
	}
	return sum
}
