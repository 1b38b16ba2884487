package publisher_test

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/certs/certstest"
	"tickfeed/publisher"
)

// refused dials and returns the refusal.
func (w *world) refused(h codec.Hello) *codec.Refusal {
	w.t.Helper()
	m := w.dial(h).message()
	require.IsType(w.t, &codec.Refusal{}, m)
	return m.(*codec.Refusal)
}

// last reads until the connection ends, and returns the last event.
func (c *client) last() string {
	for c.step() == nil {
	}
	return c.events[len(c.events)-1]
}

// A hello is refused by name for wrong credentials, a policy or a filter that are not permitted, and too many connections; the
// latter may be tried again. Each refusal is counted. PROTOCOL.md, "Permissions".
func TestLoginsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &directory{was: make(map[string][]version)}
		w := start(t, publisher.Config{Seed: 1, Authorize: d.authorize})
		d.set("desk", &publisher.Permission{User: "desk", Allow: codec.Filter{"A*"}, Policies: []codec.SlowPolicy{codec.SlowAll}, Connections: 2})
		assert.Equal(t, &codec.Refusal{Code: codec.CodeUnauthorized, Text: "who is that?"}, w.refused(codec.Hello{}))
		assert.Equal(t, codec.CodeUnauthorized, w.refused(codec.Hello{Token: "other"}).Code)
		assert.Equal(t, &codec.Refusal{Code: codec.CodeDenied, Text: "user desk may not see B0, only A*"},
			w.refused(codec.Hello{Token: "desk", Filter: codec.Filter{"B0"}}))
		assert.Equal(t, &codec.Refusal{Code: codec.CodeDenied, Text: "user desk may not choose the slow-consumer policy latest: choose all"},
			w.refused(codec.Hello{Token: "desk", Slow: codec.SlowLatest}))
		first := w.join(codec.Hello{Token: "desk"})
		w.join(codec.Hello{Token: "desk"})
		assert.Equal(t, &codec.Refusal{Code: codec.CodeBusy, Text: "user desk has 2 connections, which is the limit", Retry: true, RetryAfter: time.Second},
			w.refused(codec.Hello{Token: "desk"}))
		first.nc.Close()
		synctest.Wait()
		w.join(codec.Hello{Token: "desk"})
		s := w.pub.Stats()
		assert.Equal(t, map[codec.Code]uint64{codec.CodeUnauthorized: 2, codec.CodeDenied: 2, codec.CodeBusy: 1}, s.Refused)
		assert.Equal(t, "desk", s.Conns[0].User)
	})
}

// The welcome and the answer to a change of the filter say what a user is granted, and nothing if that is all. So do the statistics.
func TestTheClientIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &directory{was: make(map[string][]version)}
		w := start(t, publisher.Config{Seed: 1, Authorize: d.authorize})
		d.set("desk", &publisher.Permission{User: "desk", Allow: codec.Filter{"A*"}, Deny: codec.Filter{"A1"}})
		d.set("chief", &publisher.Permission{User: "chief"})
		chief := w.join(codec.Hello{Token: "chief"})
		assert.Nil(t, chief.welcome.Granted)
		assert.Equal(t, codec.LineSeed(chief.lineage[0].ID, nil), chief.seed, "a full line")
		c := w.join(codec.Hello{Token: "desk", Start: codec.Start{Kind: codec.StartBeginning}})
		assert.Equal(t, &codec.Filter{"A*"}, c.welcome.Granted)
		assert.Equal(t, "user desk may not see more than A*, nor A1", c.welcome.Limits)
		selection := func() publisher.Selection {
			conns := w.pub.Stats().Conns
			return conns[slices.IndexFunc(conns, func(c publisher.ConnStats) bool { return c.User == "desk" })].Selection
		}
		denied := codec.Filter{"A1"}
		assert.Equal(t, publisher.Selection{Granted: codec.Filter{"A*"}, Denied: denied, Limits: c.welcome.Limits}, selection())
		w.quotes(6)
		c.until(10)
		assert.Equal(t, []uint64{1, 4, 7}, c.seqs(), "the definition and the quotes of A0")
		answer := func(f codec.Filter) *codec.Subscribed {
			c.send(&codec.Subscribe{Request: 1, Filter: f})
			for {
				m := c.message()
				if s, ok := m.(*codec.Subscribed); ok {
					return s
				}
			}
		}
		s := answer(codec.Filter{"A0", "B0"})
		assert.Equal(t, &codec.Filter{"A0"}, s.Granted)
		assert.Equal(t, "user desk may not see more than A*", s.Limits)
		assert.Equal(t, publisher.Selection{Filter: codec.Filter{"A0", "B0"}, Granted: codec.Filter{"A0"}, Limits: s.Limits}, selection(), "as asked last")
		s = answer(codec.Filter{"A0"})
		assert.Nil(t, s.Granted)
		assert.Equal(t, publisher.Selection{Filter: codec.Filter{"A0"}}, selection())
		c.send(&codec.Subscribe{Request: 1, Filter: codec.Filter{"B0"}})
		var bye *codec.Goodbye
		for bye == nil {
			bye, _ = c.message().(*codec.Goodbye)
		}
		assert.Equal(t, &codec.Goodbye{Code: codec.CodeDenied, Text: "user desk may not see B0, only A*"}, bye)
	})
}

// A living line follows the permission of its user within a second: it is narrowed and widened, with a snapshot, if the client
// knows the feature, and otherwise asked to connect again. A user who is removed is sent away for good.
func TestLivingLinesFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &directory{was: make(map[string][]version)}
		w := start(t, publisher.Config{Seed: 1, Authorize: d.authorize})
		d.set("desk", &publisher.Permission{User: "desk"})
		w.quotes(3)
		knows := w.join(codec.Hello{Token: "desk", Features: []string{codec.FeatureNarrow}})
		assert.Equal(t, []string{codec.FeatureNarrow}, knows.welcome.Features)
		old := w.join(codec.Hello{Token: "desk"})
		knows.snapshot()
		old.snapshot()
		full := w.join(codec.Hello{Token: "desk", Start: codec.Start{Kind: codec.StartBeginning}})
		full.until(7)

		d.set("desk", &publisher.Permission{User: "desk", Connections: 7})
		time.Sleep(1100 * time.Millisecond)
		w.quotes(3)
		old.until(10)
		require.Equal(t, []string{"snapshot 7 scope 0"}, old.events, "the same may be seen")

		d.set("desk", &publisher.Permission{User: "desk", Allow: codec.Filter{"A0"}})
		time.Sleep(1100 * time.Millisecond)
		w.quotes(3)
		knows.until(13)
		assert.Equal(t, []string{"snapshot 7 scope 0", "subscribed 0", "snapshot 10 scope 0"}, knows.events)
		assert.Equal(t, []uint64{7, 8, 9, 10}, knows.seqs())
		assert.Equal(t, 1, knows.state.Len(), "what may not be seen any more is forgotten")
		oldest := slices.MinFunc(w.pub.Stats().Conns, func(a, b publisher.ConnStats) int { return cmp.Compare(a.Number, b.Number) })
		assert.Equal(t, publisher.Selection{Granted: codec.Filter{"A0"}, Limits: "user desk may not see more than A0"}, oldest.Selection)
		assert.Equal(t, "goodbye denied", old.last())
		time.Sleep(time.Second)
		assert.Equal(t, uint64(2), w.pub.Stats().Left[publisher.LeftDenied])
		assert.Equal(t, 2, w.pub.Stats().Missing, "those are expected to come back")

		d.set("desk", &publisher.Permission{User: "desk"})
		time.Sleep(1100 * time.Millisecond)
		w.quotes(3)
		knows.until(16)
		assert.Equal(t, []string{"subscribed 0", "snapshot 13 scope 0"}, knows.events[3:])
		assert.Equal(t, []uint64{13, 14, 15}, knows.seqs()[4:])
		assert.Zero(t, w.pub.Stats().Conns[0].Selection)
		state, _ := w.pub.State()
		assert.Empty(t, state.Diff(knows.state))
		assert.Equal(t, codec.LineSeed(knows.lineage[0].ID, nil), knows.seed, "a full line again")

		d.set("desk", nil)
		time.Sleep(1100 * time.Millisecond)
		assert.Equal(t, "goodbye unauthorized", knows.last())
		time.Sleep(time.Second)
		assert.Equal(t, 2, w.pub.Stats().Missing, "and this one is not")
		assert.Zero(t, w.pub.Stats().Subscribers)
	})
}

// Users who are granted the same filter and may not see the same are not sent the same, although they connect at the same place.
func TestUsersBesideEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &directory{was: make(map[string][]version)}
		w := start(t, publisher.Config{Seed: 1, Authorize: d.authorize})
		w.quotes(3)
		var clients []*client
		for i := range 3 {
			user := fmt.Sprint("user", i)
			d.set(user, &publisher.Permission{User: user, Deny: codec.Filter{[]string{"A0", "A1", "A0"}[i]}})
			clients = append(clients, w.join(codec.Hello{Token: codec.Token(user)}))
		}
		w.quotes(6)
		for i, c := range clients {
			assert.Equal(t, &codec.Filter{"?*"}, c.welcome.Granted)
			assert.Equal(t, clients[0].seed, c.seed)
			c.until(13)
			assert.Equal(t, [][]uint64{{8, 9, 11, 12}, {7, 9, 10, 12}, {8, 9, 11, 12}}[i], c.seqs())
			_, has := c.state.Instrument(w.ids[i%2])
			assert.False(t, has)
		}
	})
}

// A permission for some of the history makes what is older gone, below the tail of the welcome, and a snapshot follows.
func TestHistoryIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &directory{was: make(map[string][]version)}
		w := start(t, publisher.Config{Seed: 1, Authorize: d.authorize})
		for range 4 {
			time.Sleep(time.Minute)
			w.quotes(3)
		}
		d.set("desk", &publisher.Permission{User: "desk", History: 90 * time.Second})
		d.set("guest", &publisher.Permission{User: "guest", History: publisher.NoHistory})
		c := w.join(codec.Hello{Token: "desk", Start: codec.Start{Kind: codec.StartSeq, Value: 2}})
		assert.Nil(t, c.welcome.Granted)
		assert.Equal(t, uint64(10), c.welcome.Tail)
		c.until(16)
		assert.Len(t, c.events, 2)
		assert.Contains(t, c.events[0], "10) denied")
		assert.Equal(t, "snapshot 10 scope 0", c.events[1])
		assert.Equal(t, []uint64{10, 11, 12, 13, 14, 15}, c.seqs())
		g := w.join(codec.Hello{Token: "guest", Start: codec.Start{Kind: codec.StartBeginning}})
		g.until(16)
		assert.Contains(t, g.events[0], "[1, 16) denied", "also without a journal")
		w.quotes(3)
		g.until(19)
		assert.Equal(t, []uint64{16, 17, 18}, g.seqs())
		assert.Equal(t, uint64(16), g.welcome.Tail)
	})
}

// A user may be known by the name in a certificate. A certificate that TLS accepts and that no user has is answered as late as a
// wrong token is, and later each time.
func TestCertificatesOfUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := certstest.NewAuthority("test")
		names := map[string]*publisher.Permission{"risk.example": {User: "risk", Allow: codec.Filter{"A0"}}}
		w := start(t, publisher.Config{Seed: 1,
			TLS: &tls.Config{Certificates: []tls.Certificate{a.Issue(certstest.Want{Names: []string{"pub"}}).TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool()},
			Authorize: func(l publisher.Login) (*publisher.Permission, error) {
				if p := names[l.Certificate]; p != nil && l == publisher.NewLogin("", l.Certificate) {
					return p, nil
				}
				return nil, x509.CertificateInvalidError{Detail: "nobody has it"}
			}})
		as := func(name ...string) {
			w.trust = &tls.Config{RootCAs: a.Pool(), ServerName: "pub", Certificates: []tls.Certificate{a.Issue(certstest.Want{Names: name}).TLS}}
		}
		as("risk.example")
		c := w.join(codec.Hello{})
		assert.Equal(t, &codec.Filter{"A0"}, c.welcome.Granted)
		assert.Equal(t, "risk.example", w.pub.Stats().Conns[0].Certificate)
		for i, want := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second} {
			as([]string{"other.example", "sub.risk.example", "RISK.example"}[i])
			began := time.Now()
			assert.Equal(t, codec.CodeUnauthorized, w.refused(codec.Hello{}).Code)
			assert.Equal(t, want, time.Since(began).Round(50*time.Millisecond))
		}
		as("risk.example", "other.example")
		assert.Equal(t, codec.CodeUnauthorized, w.refused(codec.Hello{}).Code, "two names are nobody's")
	})
}

// A connection ends when the certificate of its client expires, and when its authority is taken away, within two seconds and with a
// goodbye that says so. It may come back with another certificate. Authorities that were there once only, in a file that was half
// written, end nothing.
func TestCertificatesExpireOnLivingLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := certstest.NewAuthority("a"), certstest.NewAuthority("b")
		both := a.Pool()
		both.AddCert(b.Cert)
		var inForce atomic.Pointer[x509.CertPool]
		inForce.Store(both)
		w := start(t, publisher.Config{Seed: 1, Heartbeat: time.Minute, ClientCAs: inForce.Load,
			TLS: &tls.Config{Certificates: []tls.Certificate{a.Issue(certstest.Want{Names: []string{"pub"}}).TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: both}})
		join := func(by *certstest.Authority, lives time.Duration) *client {
			w.trust = &tls.Config{RootCAs: a.Pool(), ServerName: "pub", Certificates: []tls.Certificate{by.Issue(certstest.Want{Names: []string{"desk"}, NotAfter: time.Now().Add(lives)}).TLS}}
			c := w.join(codec.Hello{Start: fromBeginning})
			c.until(4)
			return c
		}
		short, long, other := join(a, 10*time.Second), join(a, time.Hour), join(b, time.Hour)
		began := time.Now()
		goodbye := make(chan string)
		for _, c := range []*client{short, other} {
			go func() {
				event := c.last()
				goodbye <- fmt.Sprintf("%s after %v: %s", event, time.Since(began).Round(time.Second), c.goodbye)
			}()
		}
		assert.Equal(t, "goodbye denied after 11s: the certificate of the client, or of its authority, expired at "+began.Add(10*time.Second).UTC().Format(time.RFC3339)+": connect again with a new one", <-goodbye)

		time.Sleep(time.Second / 2)
		inForce.Store(a.Pool())
		time.Sleep(time.Second)
		inForce.Store(both)
		time.Sleep(5 * time.Second)
		inForce.Store(a.Pool())
		assert.Contains(t, <-goodbye, "goodbye denied after 19s: the publisher does not admit the certificate of the client any more, since its authorities have changed")
		w.quotes(3)
		long.until(7)
	})
}
