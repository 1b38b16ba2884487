package replay

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// open is when the recordings of these tests begin, 2026-01-05 14:30 UTC.
const open = int64(1_767_623_400_000_000_000)

const second = int64(time.Second)

// A tapeFile is a recording in memory.
type tapeFile struct{ bytes.Buffer }

func (*tapeFile) Sync() error { return nil }

func (*tapeFile) Close() error { return nil }

// record returns a recording of session id, from number first, with what write appends.
func record(t *testing.T, id feed.SessionID, first uint64, state *feed.State, write func(b *recording.Builder)) Recording {
	t.Helper()
	f := &tapeFile{}
	b, err := recording.NewBuilder(f, codec.FileHeader{Lineage: feed.Lineage{{ID: id, First: first}}, Next: first, Created: open}, state)
	require.NoError(t, err)
	write(b)
	require.NoError(t, b.Close())
	return Recording{Name: "test.tick", R: bytes.NewReader(f.Bytes()), Size: int64(f.Len())}
}

func define(symbol string, id feed.InstrumentID, at int64) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: at, Extra: &feed.Extra{
		Definition: &feed.Definition{Symbol: symbol, PriceExponent: -2}}}
}

func quote(id feed.InstrumentID, price, at int64) feed.Tick {
	return feed.Quote{Bid: price, BidSize: 1, Ask: price + 1, AskSize: 1}.Tick(id, at)
}

// imported returns a recording of n quotes of A (even prices) and B (odd prices), each with its number as price, at
// the times that next returns, published at their event time.
func imported(t *testing.T, n int, next func(i int) int64) Recording {
	t.Helper()
	return record(t, 0xa, 1, nil, func(b *recording.Builder) {
		require.NoError(t, b.Append([]feed.Tick{define("A", 0, open), define("B", 1, open)}))
		for i := range n {
			require.NoError(t, b.Append([]feed.Tick{quote(feed.InstrumentID((i+3)%2), int64(i+3), next(i))}))
		}
	})
}

// pass lets the time d pass, and everything that happens in it.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A score is an Output that records what is played.
type score struct {
	t        *testing.T
	mu       sync.Mutex
	sessions []scoreSession
	ended    chan struct{}
	refuse   func(first uint64) bool // packets that Relay does not take
	relayed  atomic.Int64            // packets that it took
}

type scoreSession struct {
	first uint64
	begun *feed.State
	state *feed.State
	next  uint64
	notes []note
	ended bool
}

// A note is a tick, or a hole.
type note struct {
	at   time.Time
	tick feed.Tick
	hole uint64
	why  recording.SkipKind
}

func newScore(t *testing.T) *score { return &score{t: t, ended: make(chan struct{}, 100)} }

func (s *score) now() *scoreSession { return &s.sessions[len(s.sessions)-1] }

// all returns everything played so far, by session. The result does not change later.
func (s *score) all() []scoreSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.sessions)
	for i := range out {
		out[i].notes = slices.Clone(out[i].notes)
		out[i].state = out[i].state.Clone()
	}
	return out
}

// played returns what was played of the last session.
func (s *score) played() *scoreSession {
	all := s.all()
	return &all[len(all)-1]
}

func (s *score) count() int { return len(s.all()) }

func (s *score) Begin(_ context.Context, first uint64, state *feed.State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, scoreSession{first: first, next: first, begun: state.Clone(), state: state})
	return nil
}

func (s *score) Republish(_ context.Context, ticks []feed.Tick, end uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.now()
	for i := range ticks {
		if ticks[i].Seq < x.next {
			return errors.New("a number twice")
		}
		if err := x.state.Apply(&ticks[i]); err != nil {
			return err
		}
		x.notes = append(x.notes, note{at: time.Now(), tick: ticks[i]})
		x.next = ticks[i].Seq + 1
	}
	x.next = max(x.next, end)
	return nil
}

// Relay takes packets except those for which refuse returns true.
func (s *score) Relay(ctx context.Context, packets []byte) (n, ticks int, err error) {
	for n < len(packets) {
		size, h := codec.PacketSize(packets[n:]), codec.PacketAt(packets[n:])
		if s.refuse != nil && s.refuse(h.First) {
			break
		}
		body := codec.PacketBody(&h, packets[n+codec.PacketHeader:n+size])
		all := make([]feed.Tick, h.Count)
		k, err := body.Decode(all)
		if err != nil || k == 0 {
			break
		}
		if err := s.Republish(ctx, all[:k], h.First+h.Count); err != nil {
			return n, ticks, err
		}
		s.relayed.Add(1)
		n, ticks = n+size, ticks+k
	}
	return n, ticks, nil
}

func (s *score) Skip(_ context.Context, n uint64, why recording.SkipKind, state *feed.State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.now()
	x.notes = append(x.notes, note{at: time.Now(), hole: n, why: why})
	x.next += n
	if state != nil {
		x.state = state
	}
	return nil
}

func (s *score) State() (*feed.State, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().state.Clone(), s.now().next
}

func (s *score) WaitForSubscribers(context.Context) error { return nil }

func (s *score) End(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now().ended = true
	s.ended <- struct{}{}
	return nil
}

// seqs returns the numbers of the ticks of a session.
func (x *scoreSession) seqs() []uint64 {
	var out []uint64
	for _, n := range x.notes {
		if n.hole == 0 {
			out = append(out, n.tick.Seq)
		}
	}
	return out
}

// play starts a player in virtual time.
func play(t *testing.T, cfg Config, prepare ...func(*Player)) (p *Player, s *score) {
	t.Helper()
	cfg.Sleep = time.Sleep
	s = newScore(t)
	p, err := New(cfg, s)
	require.NoError(t, err)
	for _, do := range prepare {
		do(p)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			assert.ErrorIs(t, err, context.Canceled)
		}
	})
	return p, s
}

// dump returns the entries of a state.
func dump(s *feed.State) []feed.Tick {
	var out []feed.Tick
	for t := range s.Entries(nil) {
		if t.Extra != nil && t.Extra.Summary != nil {
			continue
		}
		out = append(out, t)
	}
	return out
}
