package publisher_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/logto/logtest"
	"tickfeed/codec/netsim"
	"tickfeed/publisher"
)

// login dials from a host with a token, and returns the answer and the time it took.
func (w *world) login(from, token string) (codec.Message, time.Duration) {
	nc, err := w.connectFrom(context.Background(), w.net.From(from), "pub:1")
	if !assert.NoError(w.t, err) {
		return nil, 0
	}
	defer nc.Close()
	began := time.Now()
	b, err := codec.Append(nil, &codec.Hello{MinVersion: 1, MaxVersion: 1, Token: codec.Token(token)})
	assert.NoError(w.t, err)
	_, _ = nc.Write(b)
	_ = nc.SetReadDeadline(began.Add(time.Minute))
	_, raw, err := codec.NewReader(nc, 0).Next()
	if err != nil {
		return nil, time.Since(began)
	}
	m, err := codec.Decode(raw)
	assert.NoError(w.t, err)
	return m, time.Since(began)
}

func isRefused(m codec.Message, code codec.Code) bool {
	r, ok := m.(*codec.Refusal)
	return ok && r.Code == code
}

// Tokens cannot be guessed quickly: the answer to a wrong token is delayed, longer with each one. Logins with the
// correct token are not delayed, from other addresses or from the same one, and guesses do not use up the places for
// handshakes.
func TestGuessesAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.WithHandshakes(publisher.Config{Seed: 1, Token: "s3cret"}, 2, 0))
		began, tried := time.Now(), 0
		var first []time.Duration
		for time.Since(began) < time.Minute {
			m, took := w.login("guesser", fmt.Sprint("guess", tried))
			require.True(t, isRefused(m, codec.CodeUnauthorized), "%+v", m)
			if tried++; tried <= 6 {
				first = append(first, took.Round(10*time.Millisecond))
			}
			for _, from := range []string{"guesser", "honest"} {
				m, took := w.login(from, "s3cret")
				require.IsType(t, &codec.Welcome{}, m)
				require.Less(t, took, 10*time.Millisecond)
			}
		}
		assert.Equal(t, []time.Duration{250e6, 500e6, 1e9, 2e9, 4e9, 4e9}, first)
		assert.Less(t, tried, 20, "guesses in a minute")
		time.Sleep(2 * time.Minute)
		_, took := w.login("guesser", "typo")
		assert.Less(t, took, 300*time.Millisecond, "an address is forgotten after a while")

		// Parallel guesses are no faster: above a bound, tokens are not checked.
		unauthorized, busy := 0, 0
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range 200 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				m, took := w.login("guesser", fmt.Sprint("guess", i))
				mu.Lock()
				defer mu.Unlock()
				if isRefused(m, codec.CodeUnauthorized) {
					unauthorized++
				} else if assert.True(t, isRefused(m, codec.CodeBusy), "%+v", m) {
					assert.True(t, m.(*codec.Refusal).Retry)
					assert.Less(t, took, 10*time.Millisecond)
					busy++
				}
			})
		}
		time.Sleep(220 * time.Millisecond)
		m, took := w.login("honest", "s3cret")
		require.IsType(t, &codec.Welcome{}, m)
		assert.Less(t, took, 10*time.Millisecond, "other addresses do not wait")
		assert.Zero(t, w.pub.Stats().Handshakes, "waiting answers take no places of handshakes")
		all.Wait()
		assert.LessOrEqual(t, unauthorized, 9)
		assert.GreaterOrEqual(t, busy, 191)
		m, took = w.login("guesser", "s3cret")
		require.IsType(t, &codec.Welcome{}, m)
		assert.Less(t, took, 10*time.Millisecond)
	})
}

// Logins that are wrong already do not keep out others from their address: neither many clients with one old token, nor clients without
// a token. They are answered as slowly as guesses, and bounded beside them, so that the answers to guesses are sent no earlier.
func TestRepeatedLoginsAreNoGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Token: "s3cret"})
		var all sync.WaitGroup
		var mu sync.Mutex
		answers := map[string]map[codec.Code]int{"old token": {}, "no token": {}, "guesses": {}}
		storm := func(token func(i int) string, name string) {
			for i := range 100 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * time.Millisecond)
					m, _ := w.login("site", token(i))
					mu.Lock()
					defer mu.Unlock()
					if r, ok := m.(*codec.Refusal); assert.True(t, ok) {
						answers[name][r.Code]++
					}
				})
			}
			time.Sleep(150 * time.Millisecond)
		}
		admitted := func() bool {
			m, took := w.login("site", "s3cret")
			_, ok := m.(*codec.Welcome)
			assert.Less(t, took, 10*time.Millisecond)
			return ok
		}
		storm(func(int) string { return "of last month" }, "old token")
		assert.True(t, admitted(), "beside clients with an old token")
		storm(func(int) string { return "" }, "no token")
		assert.True(t, admitted(), "beside clients without a token")
		storm(func(i int) string { return fmt.Sprint("guess", i) }, "guesses")
		assert.False(t, admitted(), "beside a guesser")
		all.Wait()
		assert.True(t, admitted(), "after the storms")
		assert.LessOrEqual(t, answers["old token"][codec.CodeUnauthorized]+answers["no token"][codec.CodeUnauthorized], 2*(1+8))
		assert.LessOrEqual(t, answers["guesses"][codec.CodeUnauthorized], 9)
	})
}

// A publisher that stops does not wait for the answers to wrong tokens.
func TestStopWhileGuessesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Token: "s3cret"})
		for range 5 {
			w.login("guesser", "guess")
		}
		go w.login("guesser", "guess")
		time.Sleep(time.Second)
		began := time.Now()
		w.stop()
		assert.Less(t, time.Since(began), time.Second)
	})
}

// The log says which client was refused, as far as the client has said who it is.
func TestLogNamesWhoIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logtest.Buffer)
		w := &world{t: t, net: netsim.New(1, netsim.Config{})}
		w.open(publisher.Config{Seed: 1, Token: "s3cret", Logger: zerolog.New(log)})
		t.Cleanup(w.stop)
		c := w.dial(codec.Hello{Client: "desk", Token: "wrong"})
		c.message()
		c.nc.Close()
		lines := log.Events(`"message":"refused"`)
		require.Len(t, lines, 1)
		assert.Equal(t, "desk", lines[0]["client"])
	})
}

// If there are many log lines of one kind, most are counted, and the count is logged when the period is over or the
// publisher is closed. The filter of a client is shortened.
func TestLogLinesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logtest.Buffer)
		w := &world{t: t, net: netsim.New(1, netsim.Config{})}
		w.open(publisher.Config{Seed: 1, Token: "s3cret", Logger: zerolog.New(log)})
		refuse := func(n int) {
			for range n {
				c := w.dial(codec.Hello{MinVersion: 7, MaxVersion: 9})
				c.message()
				c.nc.Close()
			}
		}
		const counted = "lines of one kind were counted, not written"
		refuse(500)
		assert.Len(t, log.Events(`"message":"refused"`), 20)
		assert.Empty(t, log.Events(counted))
		time.Sleep(11 * time.Second)
		lines := log.Events(counted)
		require.Len(t, lines, 1)
		assert.Equal(t, "refused", lines[0]["of"])
		assert.EqualValues(t, 480, lines[0]["more"])
		refuse(30)
		assert.Len(t, log.Events(`"message":"refused"`), 40)

		var filter codec.Filter
		for i := range 300 {
			filter = append(filter, fmt.Sprintf("S%03d", i))
		}
		c := w.join(codec.Hello{Token: "s3cret", Client: strings.Repeat("é", 1000/2), Filter: filter})
		synctest.Wait()
		joined := log.Events(`"message":"subscriber joined"`)
		require.Len(t, joined, 1)
		assert.Len(t, joined[0]["filter"], 50)
		assert.EqualValues(t, 250, joined[0]["more_patterns"])
		assert.Equal(t, strings.Repeat("é", 200)+"…", joined[0]["client"])
		c.nc.Close()
		w.stop()
		lines = log.Events(counted)
		require.Len(t, lines, 2)
		assert.EqualValues(t, 10, lines[1]["more"], "lines counted when the publisher closed")
	})
}

// The log of a crowd that joins and leaves at once fits a screen: of subscribers that join, and of those that say
// goodbye, it lists 50 in ten seconds and counts the others. One that leaves in another way has a line of its own.
func TestLogOfACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const crowd, cut = 500, 70
		log := new(logtest.Buffer)
		w := start(t, publisher.Config{Seed: 1, Logger: zerolog.New(log)})
		clients := make([]*client, crowd)
		for i := range clients {
			clients[i] = w.join(codec.Hello{Start: fromBeginning})
		}
		synctest.Wait()
		assert.Equal(t, 50, len(log.Events(`"message":"subscriber joined"`)))
		for _, c := range clients[:crowd-cut] {
			c.send(&codec.Goodbye{Code: codec.CodeDone})
			c.nc.Close()
		}
		synctest.Wait()
		assert.Equal(t, 50, len(log.Events(`"message":"subscriber left"`)))
		for _, c := range clients[crowd-cut:] {
			c.nc.Close()
		}
		time.Sleep(11 * time.Second)
		left := log.Events(`"message":"subscriber left"`)
		require.Equal(t, 50+cut, len(left))
		assert.NotEqual(t, left[49]["reason"], left[50]["reason"])
		counted := map[any]float64{}
		for _, line := range log.Events(`"message":"lines of one kind were counted, not written"`) {
			counted[line["of"]] += line["more"].(float64)
		}
		assert.Equal(t, map[any]float64{"subscriber joined": crowd - 50, "subscriber left": crowd - cut - 50}, counted)
	})
}
