package simulation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// at is a subscriber that holds a position and has not run.
func at(t *testing.T, next uint64, lineage ...feed.Session) *subscriber.Subscriber {
	t.Helper()
	file := filepath.Join(t.TempDir(), "position")
	held, err := json.Marshal(codec.Position{Lineage: lineage, Next: next})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, held, 0o600))
	s, err := subscriber.New(subscriber.Config{Addrs: []string{"pub:1"}, PositionFile: file})
	require.NoError(t, err)
	return s
}

// Ticks come once, in order, under numbers of the session that owns them.
func TestWitnessHearsOrder(t *testing.T) {
	known := state(t)
	numbers := func(from, to uint64) []subscriber.Numbers {
		return []subscriber.Numbers{{Session: sessionA, Range: feed.Range{From: from, To: to}}}
	}
	ticks := func(session feed.SessionID, from uint64, bids ...int64) *subscriber.Batch {
		return &subscriber.Batch{Session: session, Ticks: quotes(from, bids...), State: known}
	}
	change := func(c subscriber.Change) *subscriber.Batch { return &subscriber.Batch{Change: &c, State: known} }
	entries := ticks(sessionA, 0, 1)
	entries.Snapshot = true
	late := ticks(sessionA, 42, 2)
	late.Published = []subscriber.Published{{End: len(late.Ticks), Time: -1}}
	for _, c := range []struct {
		name    string
		batches []*subscriber.Batch
		want    string
	}{
		{"in order", []*subscriber.Batch{ticks(sessionA, 41, 1, 2), ticks(sessionA, 44, 4)}, ""},
		{"a tick again", []*subscriber.Batch{ticks(sessionA, 41, 1, 2), ticks(sessionA, 42, 2)}, "number 42 after 42"},
		{"an earlier tick later", []*subscriber.Batch{ticks(sessionA, 44, 4), ticks(sessionA, 41, 1)}, "number 41 after 44"},
		{"a number of another session", []*subscriber.Batch{ticks(sessionA, 60, 1)}, "number 60 is not its own"},
		{"a session that the lineage does not have", []*subscriber.Batch{ticks(0xc, 41, 1)}, "number 41 is not its own"},
		{"the child's numbers", []*subscriber.Batch{ticks(sessionA, 41, 1), ticks(sessionB, 50, 1)}, ""},
		{"a tick without a number", []*subscriber.Batch{ticks(sessionA, 0, 1)}, "without a number"},
		{"after it was lost", []*subscriber.Batch{change(subscriber.Change{Lost: numbers(41, 43)}), ticks(sessionA, 42, 1)}, "reported as withheld or lost before"},
		{"after it was withheld", []*subscriber.Batch{change(subscriber.Change{Withheld: numbers(41, 43)}), ticks(sessionA, 42, 1)}, "reported as withheld or lost before"},
		{"again after it was disowned", []*subscriber.Batch{ticks(sessionA, 41, 1, 2), change(subscriber.Change{Disowned: numbers(42, 43)}), ticks(sessionA, 42, 2)}, ""},
		{"another tick after it was disowned", []*subscriber.Batch{ticks(sessionA, 41, 1, 2), change(subscriber.Change{Disowned: numbers(42, 43)}), ticks(sessionA, 42, 3)}, "another tick"},
		{"a snapshot's entries without their flag", []*subscriber.Batch{entries}, "a tick of a snapshot"},
		{"publish time goes back", []*subscriber.Batch{ticks(sessionA, 41, 1), late}, "publish time"},
		{"neither ticks nor change", []*subscriber.Batch{{}}, "both or neither"},
	} {
		s := at(t, 41, feed.Session{ID: sessionA, First: 1}, feed.Session{ID: sessionB, First: 50})
		var a Auditor
		w := a.Witness("one", s)
		var err error
		for _, b := range c.batches {
			err = w.Take(s, b)
		}
		if c.want == "" {
			assert.NoError(t, err, c.name)
		} else {
			assert.ErrorContains(t, err, c.want, c.name)
		}
	}
}

// The account of a restarted subscriber leaves out the numbers below the position that it resumes from, and has those after it.
func TestWitnessOfARestartedSubscriber(t *testing.T) {
	s := at(t, 41, feed.Session{ID: sessionA, First: 1})
	var a Auditor
	w := a.Witness("one", s)
	require.NoError(t, w.Judge(s))
	w.stories[sessionA].owned.To = 43
	require.ErrorContains(t, w.Judge(s), "[41, 43) is in no account")
}

// A line that leaves a session for sessions without any in common, and comes back, may be given what was lost when it left
// (codec/PROTOCOL.md, "Where a line starts"), and may find that it does not want it. What is lost in its presence stays lost.
func TestWitnessOfALineThatComesBack(t *testing.T) {
	known := state(t)
	span := func(from, to uint64) []subscriber.Numbers {
		return []subscriber.Numbers{{Session: sessionA, Range: feed.Range{From: from, To: to}}}
	}
	home := func(next uint64) *subscriber.Subscriber { return at(t, next, feed.Session{ID: sessionA, First: 1}) }
	away := at(t, 1, feed.Session{ID: sessionB, First: 1})
	type heard struct {
		s *subscriber.Subscriber
		b *subscriber.Batch
	}
	ticks := func(from uint64, bids ...int64) heard {
		return heard{home(from + uint64(len(bids))), &subscriber.Batch{Session: sessionA, Ticks: quotes(from, bids...), State: known}}
	}
	change := func(s *subscriber.Subscriber, c subscriber.Change) heard {
		return heard{s, &subscriber.Batch{Change: &c, State: known}}
	}
	left := []heard{ticks(41, 1, 2), change(away, subscriber.Change{Lost: span(43, 46)})}
	filtered := func(from, to, delivered uint64) feed.Account {
		return feed.Account{Session: sessionA, Filtered: []feed.Span{{Range: feed.Range{From: from, To: to}, Delivered: delivered}}}
	}
	lost := filtered(41, 43, 2)
	lost.Lost = feed.NewRangeSet(feed.Range{From: 43, To: 46})
	withheld := filtered(41, 43, 2)
	withheld.Withheld = feed.NewRangeSet(feed.Range{From: 43, To: 46})
	for _, c := range []struct {
		name    string
		heard   []heard
		account feed.Account
		want    string
	}{
		{"lost when it left, and not back", left, lost, ""},
		{"lost when it left, and delivered", append(left[:2:2], ticks(43, 3, 4, 5)), filtered(41, 46, 5), ""},
		{"lost when it left, and not all of it wanted", append(left[:2:2], ticks(45, 5)), filtered(41, 46, 3), ""},
		{"lost when it left, and nothing of it wanted", append(left[:2:2], change(home(46), subscriber.Change{})), filtered(41, 46, 2), ""},
		{"lost when it left, and withheld", append(left[:2:2], change(home(46), subscriber.Change{Withheld: span(43, 46)})), withheld, ""},
		{"withheld, left, and delivered",
			[]heard{ticks(41, 1, 2), change(home(46), subscriber.Change{Withheld: span(43, 46)}), change(away, subscriber.Change{}), ticks(43, 3, 4, 5)}, filtered(41, 46, 5), ""},
		{"lost in its presence, and covered", []heard{ticks(41, 1, 2), change(home(46), subscriber.Change{Lost: span(43, 46)})}, filtered(41, 46, 2), "[43, 46) was reported as lost"},
		{"lost in its presence, and delivered", []heard{ticks(41, 1, 2), change(home(46), subscriber.Change{Lost: span(43, 46)}), ticks(43, 3)}, filtered(41, 44, 3), "number 43 was reported as withheld or lost before"},
		{"lost in its presence, and withheld",
			[]heard{ticks(41, 1, 2), change(home(46), subscriber.Change{Lost: span(43, 46)}), change(home(46), subscriber.Change{Withheld: span(43, 46)})}, withheld, "[43, 46) is reported as withheld"},
		{"lost after it came back, and delivered", append(left[:2:2], ticks(43, 3, 4, 5), change(home(49), subscriber.Change{Lost: span(46, 49)}), ticks(46, 6)), filtered(41, 47, 6), "number 46 was reported as withheld or lost before"},
		{"delivered after it came back, and then lost", append(left[:2:2], ticks(43, 3, 4, 5), change(home(46), subscriber.Change{Lost: span(43, 46)})), filtered(41, 46, 5), "[43, 46) was reported as lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a Auditor
			w := a.Witness("one", home(41))
			var err error
			for _, h := range c.heard {
				err = w.Take(h.s, h.b)
			}
			if err == nil {
				err = w.judge(w.story(sessionA), &c.account)
			}
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}
