package subscriber

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// A first connection takes a snapshot, then what follows, and is live once it has what was there (PROTOCOL.md, "Where a line
// starts"). What came before is not asked for. At the end it says goodbye.
func TestFirstConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var bye *codec.Goodbye
		var hello *codec.Hello
		stop := publish(network, "pub:1", func(p *peer) {
			hello = p.hello
			p.send(message(welcomeA(41, 41, codec.StartedAsAsked)), snapshot(seedA(), 41, codec.ScopeAll), ticksA(41, 43), ticksA(43, 44))
			p.beat(44, time.Minute)
			<-p.gone
			bye = p.goodbye()
		})
		s, a := mustNew(t, cfg), &app{}
		err := runFor(10*time.Second+interval/2, s, a)
		stop()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, []string{
			"connecting", "snapshot", "snapshot, snapshot as of 41", "snapshot of 3 entries", "live", "ticks 41 to 43", "closed",
		}, a.events)
		assert.Empty(t, hello.Position.Lineage)
		assert.Equal(t, codec.CodeDone, bye.Code)
		assert.Equal(t, codec.Position{Lineage: lineageA, Next: 44}, s.Position())
		assert.Equal(t, feed.Totals{NotAsked: 40, Delivered: 3}, s.Ledger().Totals())
		require.NoError(t, s.Ledger().Check())
	})
}
