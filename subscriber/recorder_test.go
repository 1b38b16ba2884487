package subscriber

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// A keeper is a Recorder that records its calls in the words of an app.
type keeper struct {
	*app
	bytes  bytes.Buffer
	refuse error // what Packet says, if set
}

func known(s *feed.State) string {
	if s == nil {
		return "state unknown"
	}
	return fmt.Sprintf("%d instruments", s.Len())
}

func (k *keeper) Begin(h codec.FileHeader, s *feed.State, lost feed.Range) error {
	event := fmt.Sprintf("begin %x at %d, %s", uint64(h.Lineage.Current().ID), h.Next, known(s))
	if !lost.Empty() {
		event += fmt.Sprintf(", lost %v", lost)
	}
	k.events = append(k.events, event)
	return nil
}

func (k *keeper) Before(p codec.Packet, s *feed.State) error {
	k.events = append(k.events, fmt.Sprintf("before %d, %s", p.First, known(s)))
	return nil
}

func (k *keeper) Packet(raw []byte) error {
	p := codec.PacketAt(raw)
	k.events = append(k.events, fmt.Sprintf("packet %v", p.Range()))
	k.bytes.Write(raw)
	return k.refuse
}

// A recorder gets every packet verbatim, after the state before it and before the handler gets its ticks. Begin is called
// whenever a reader of the recording must know about a change of the line.
func TestRecorderGetsEveryPacket(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var sent [][]byte
		stop := publish(network, "pub:1", func(p *peer) {
			sent = append(sent, packet(seedA(), 1, definition(0)), ticksA(2, 5), packet(seedA(), 5, gone{5, codec.GoneExpired}), ticksA(10, 12))
			p.send(message(welcomeA(1, 12, codec.StartedAsAsked)), sent[0], sent[1], sent[2], snapshot(seedA(), 10, codec.ScopeAll), sent[3])
			time.Sleep(10 * time.Millisecond)
		}, func(p *peer) {
			child := lineageA.Child(sessionB, 14)
			sent = append(sent, ticksA(10, 14), ticksOf(codec.LineSeed(sessionB, nil), 14, 16))
			w := welcomeA(10, 16, codec.StartedResumed)
			w.Lineage = child
			p.send(message(w), sent[4], message(&codec.SessionChange{
				Lineage: child, Seed: codec.LineSeed(sessionB, nil), Next: 14,
			}), sent[5])
			p.beat(16, time.Hour)
		})
		k := &keeper{app: &app{}}
		cfg.Recorder = k
		s := mustNew(t, cfg)
		require.Error(t, runFor(interval/2, s, k.app))
		stop()
		assert.Equal(t, []string{
			"connecting", "replaying",
			"begin 20261122a at 1, 0 instruments", "before 1, 0 instruments", "packet [1, 2)", "ticks 1 to 1",
			"before 2, 1 instruments", "packet [2, 5)", "ticks 2 to 4",
			"before 5, 1 instruments", "packet [5, 10)", "snapshot, lost [5, 10)",
			"snapshot, snapshot as of 10", "snapshot of 3 entries", "replaying",
			"begin 20261122a at 10, 2 instruments, lost [5, 10)", "before 10, 2 instruments", "packet [10, 12)", "ticks 10 to 11", "live",
			"disconnected", "connecting", "replaying",
			"begin 20261122a at 12, 2 instruments", "before 10, 2 instruments", "packet [10, 14)", "ticks 12 to 13",
			"begin 20261122b at 14, 2 instruments", "before 14, 2 instruments", "packet [14, 16)", "ticks 14 to 15",
			"live, recovered from cut by replay", "closed",
		}, k.events)
		assert.Equal(t, bytes.Join(sent, nil), k.bytes.Bytes())
	})
}

// A bad packet is not recorded, and a packet that the recorder refuses counts as not received.
func TestRecorderIsNotGivenWhatIsWrong(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		wrong := codec.AppendPacket(nil, &codec.Packet{First: 2, Count: 3}, []byte{0xc1}, seedA())
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 12, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), wrong)
			<-p.gone
		}, resuming(9))
		k := &keeper{app: &app{}}
		k.on = func(b *Batch) error {
			if b.Change != nil && b.Change.State == Disconnected {
				k.refuse = errEnough
			}
			return nil
		}
		cfg.Recorder = k
		s := mustNew(t, cfg)
		require.ErrorIs(t, runFor(10*time.Second, s, k.app), errEnough)
		stop()
		assert.Contains(t, k.events, "before 2, 1 instruments")
		assert.Equal(t, []string{"begin 20261122a at 2, 1 instruments", "before 2, 1 instruments", "packet [2, 9)"}, k.events[len(k.events)-3:])
		assert.Equal(t, uint64(2), s.Position().Next)
		assert.Equal(t, feed.Totals{Delivered: 1}, s.Ledger().Totals())
	})
	_, err := New(Config{Addrs: []string{"a"}, BatchSize: 1, Recorder: &keeper{}})
	require.ErrorContains(t, err, "BatchSize must be 0 with a Recorder, got 1")
}

// Begin reports the numbers that were asked for and are missing before the line: those of a session that is unrelated
// to the previous one, and those from the number that a start asked for. Numbers that were not asked for are not among
// them.
func TestRecorderIsToldWhatIsLost(t *testing.T) {
	other := feed.Lineage{{ID: sessionB, First: 1}, {ID: sessionB + 1, First: 31}}
	for name, c := range map[string]struct {
		start codec.Start
		want  []string
	}{
		"all that came before": {codec.Start{Kind: codec.StartSeq, Value: 1}, []string{
			"begin 20261122a at 4, 2 instruments, lost [1, 4)", "begin 20261122c at 41, 2 instruments, lost [1, 41)"}},
		"some of what came before": {codec.Start{Kind: codec.StartSeq, Value: 3}, []string{
			"begin 20261122a at 4, 2 instruments, lost [3, 4)", "begin 20261122c at 41, 2 instruments, lost [1, 41)"}},
		"only what comes": {codec.Start{Kind: codec.StartSnapshot}, []string{
			"begin 20261122a at 4, 2 instruments", "begin 20261122c at 41, 2 instruments, lost [1, 41)"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
				stop := publish(network, "pub:1", func(p *peer) {
					p.send(message(welcomeA(4, 9, codec.StartedAsAsked)), snapshot(seedA(), 4, codec.ScopeAll), ticksA(4, 9))
					time.Sleep(10 * time.Millisecond)
				}, func(p *peer) {
					w := welcomeA(41, 41, codec.StartedBySnapshot)
					w.Lineage, w.Seed = other, codec.LineSeed(sessionB+1, nil)
					p.send(message(w), snapshot(w.Seed, 41, codec.ScopeAll))
					p.beat(41, time.Hour)
				})
				k := &keeper{app: &app{}}
				cfg.Recorder, cfg.Start = k, c.start
				require.Error(t, runFor(interval*3/2, mustNew(t, cfg), k.app))
				stop()
				var begins []string
				for _, e := range k.events {
					if strings.HasPrefix(e, "begin ") {
						begins = append(begins, e)
					}
				}
				assert.Equal(t, c.want, begins)
			})
		})
	}
}

// A recording begins even if nothing is published, and holds the state.
func TestRecorderOfAQuietLine(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(41, 41, codec.StartedAsAsked)), snapshot(seedA(), 41, codec.ScopeAll))
			p.beat(41, time.Hour)
		})
		k := &keeper{app: &app{}}
		cfg.Recorder = k
		require.Error(t, runFor(interval*3/2, mustNew(t, cfg), k.app))
		stop()
		assert.Equal(t, []string{
			"connecting", "snapshot", "snapshot, snapshot as of 41", "snapshot of 3 entries", "live",
			"begin 20261122a at 41, 2 instruments", "closed",
		}, k.events)
	})
}
