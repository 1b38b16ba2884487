package publisher

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A grant is the part of a filter that a user may see, it says what is missing if that is not all, and it is refused by name if
// nothing is left.
func TestGrantsArePartsOfFilters(t *testing.T) {
	futures := &Permission{User: "desk", Allow: codec.Filter{"ES*", "*@XCME"}}
	few := &Permission{User: "desk", Deny: codec.Filter{"TSLA", "ES*@DARK"}}
	both := &Permission{User: "desk", Allow: codec.Filter{"ES*"}, Deny: codec.Filter{"ESZ6"}}
	for _, test := range []struct {
		name   string
		permit *Permission
		asked  codec.Filter
		want   codec.Filter
		limits string
		denied string
	}{
		{"everything", &Permission{User: "desk", Allow: codec.Filter{"A", "*"}}, nil, nil, "", ""},
		{"everything, by a pattern", &Permission{}, codec.Filter{"AAPL"}, codec.Filter{"AAPL"}, "", ""},
		{"all of a part", futures, nil, codec.Filter{"*@XCME", "ES*"}, "user desk may not see more than *@XCME, ES*", ""},
		{"within", futures, codec.Filter{"ESH6", "NQ*@XCME"}, codec.Filter{"ESH6", "NQ*@XCME"}, "", ""},
		{"around", futures, codec.Filter{"E*@XCME"}, codec.Filter{"E*@XCME"}, "", ""},
		{"across", futures, codec.Filter{"E*"}, codec.Filter{"E*@XCME", "ES*"}, "user desk may not see more than *@XCME, ES*", ""},
		{"some of several", futures, codec.Filter{"AAPL@XNAS", "ESH6"}, codec.Filter{"ESH6"}, "user desk may not see more than *@XCME, ES*", ""},
		{"nothing", futures, codec.Filter{"AAPL@XNAS", "MSFT@XNAS"}, nil, "", "user desk may not see AAPL@XNAS, MSFT@XNAS, only *@XCME, ES*"},
		{"all but some", few, nil, codec.Filter{"?*"}, "user desk may not see TSLA, ES*@DARK", ""},
		{"a denied one of several", few, codec.Filter{"AAPL", "TSLA"}, codec.Filter{"AAPL"}, "user desk may not see TSLA", ""},
		{"a part that is denied", few, codec.Filter{"ES*"}, codec.Filter{"ES*"}, "user desk may not see ES*@DARK", ""},
		{"nothing denied", few, codec.Filter{"AAPL"}, codec.Filter{"AAPL"}, "", ""},
		{"denied", few, codec.Filter{"TSLA@XNAS"}, nil, "", "user desk may not see TSLA@XNAS"},
		{"permitted and denied", both, nil, codec.Filter{"ES*"}, "user desk may not see more than ES*, nor ESZ6", ""},
		{"denied within permitted", both, codec.Filter{"ESZ6"}, nil, "", "user desk may not see ESZ6"},
		{"everything denied", &Permission{User: "desk", Deny: codec.Filter{"*"}}, nil, nil, "", "user desk may not see any instrument"},
		{"no book", &Permission{User: "desk", Depth: DepthL1}, nil, codec.Filter{"?*"}, "user desk may not see the levels of the book", ""},
		{"no book of some", &Permission{User: "desk", Depth: DepthL1}, codec.Filter{"ES*"}, codec.Filter{"ES*"}, "user desk may not see the levels of the book", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.NoError(t, test.permit.check())
			g, err := test.permit.grant(test.asked)
			if test.denied != "" {
				require.EqualError(t, err, test.denied)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, g.filter)
			assert.Equal(t, test.limits, g.limits)
			assert.Equal(t, test.limits != "", g.limited)
		})
	}
}

// A grant does not compare patterns if that would take long: its limits then say what may be missing.
func TestGrantsAreBounded(t *testing.T) {
	var asked, allow codec.Filter
	for i := range 300 {
		asked = append(asked, "*"+strings.Repeat("a?*", i%20)+string(rune('a'+i%26))+string(rune('a'+i/26))+"*")
		allow = append(allow, "*"+strings.Repeat("?a*", i%20)+string(rune('a'+i%26))+string(rune('a'+i/26))+"?")
	}
	p := &Permission{User: "u", Allow: allow, Deny: allow[:100]}
	require.NoError(t, p.check())
	g, err := p.grant(asked)
	require.NoError(t, err)
	assert.Equal(t, asked, g.filter)
	assert.Contains(t, g.limits, "may not see more than")
	assert.LessOrEqual(t, len(g.limits), 4*maxLimits)
}

// A permission says which slow-consumer policies it has, and how old ticks may be.
func TestPermitsBoundPoliciesAndHistory(t *testing.T) {
	p := &Permission{User: "u", Policies: []codec.SlowPolicy{codec.SlowLatest, codec.SlowDisconnect}}
	assert.NoError(t, p.permits(codec.SlowLatest))
	assert.EqualError(t, p.permits(codec.SlowAll), "user u may not choose the slow-consumer policy all: choose latest or disconnect")
	assert.NoError(t, (&Permission{}).permits(codec.SlowAll))
	assert.NoError(t, (*Permission)(nil).permits(codec.SlowAll))
	for _, test := range []struct {
		history time.Duration
		want    int64
		limited bool
	}{{0, 0, false}, {NoHistory, 1001, true}, {400, 600, true}} {
		at, limited := (&Permission{History: test.history}).oldest(1000)
		assert.Equal(t, test.want, at)
		assert.Equal(t, test.limited, limited)
	}
	for _, p := range []*Permission{
		{Allow: codec.Filter{""}}, {Deny: codec.Filter{"@X"}}, {Depth: 2}, {History: -2}, {Connections: -1},
	} {
		assert.Error(t, p.check())
	}
}

// Permissions of the same view share what is filtered and encoded for them.
func TestSameView(t *testing.T) {
	a, b := &Permission{User: "a", Allow: codec.Filter{"B", "A"}}, &Permission{User: "b", Allow: codec.Filter{"A", "B"}, Connections: 1}
	c, d := &Permission{Allow: codec.Filter{"A", "B"}, Depth: DepthL1}, &Permission{Allow: codec.Filter{"A", "*"}}
	for _, p := range []*Permission{a, b, c, d} {
		require.NoError(t, p.check())
	}
	assert.True(t, a.sameView(b))
	assert.False(t, a.sameView(c))
	assert.False(t, a.sameView(d))
	assert.True(t, d.sameView(nil))
	assert.True(t, (*Permission)(nil).sameView(d))
	assert.Equal(t, a.view(), b.view())
	assert.NotEqual(t, a.view(), c.view())
	assert.Empty(t, d.view())
	assert.True(t, a.sees(&feed.Definition{Symbol: "A"}))
	assert.False(t, a.sees(&feed.Definition{Symbol: "C"}))
}

// A client that is lost before its line begins is listed at the position that it asked for.
func TestClientLostBeforeItsLineBegins(t *testing.T) {
	p := &Publisher{}
	near, far := net.Pipe()
	defer far.Close()
	defer near.Close()
	c := newConn(p, near, nil, &codec.Hello{Position: codec.Position{Next: 70}})
	assert.Equal(t, uint64(70), c.stats().Told)
	c.progress.tell(90, 90)
	assert.Equal(t, uint64(90), c.stats().Told)
}
