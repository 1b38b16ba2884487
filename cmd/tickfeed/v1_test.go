package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/codec/recording/place"
	"tickfeed/codec/recording/survey"
	"tickfeed/codec/recording/text"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/subscriber"
)

var updateV1 = flag.Bool("v1.update", false, "make the files of testdata/v1 again; TestV1FilesAreReadForEver then says which of its values are others")

// v1 is the directory of files that version 1 has written. Users have such files: every later version must read them.
const v1 = "../../testdata/v1"

// The contents of the files of v1. A change of the code that changes these values reads users' files in another way than before.
const (
	v1Ticks        = 62
	v1Numbers      = 88 // of the recording, from 1 on
	v1Second       = 60 // first number of the second session of the recording
	v1TicksDigest  = "a76ffc633cd6b3651b4e2e22"
	v1GapDigest    = "b2f548054322c63ec79fc26c"
	v1StateDigest  = "2ce5c1f5d2764c6ecb2f2680"
	v1JournalTicks = "161c6942e201792618930376"
	v1JournalBytes = "ba7cd1a501ed1a45cf0dffc5"
	v1JournalState = "76338bc742fe10cf7c48ba8f"
)

// Every file that version 1 has written is read for ever, and says the same: the recording, plain, compressed and as text; the
// journal; the position; the ledger. To make the files again, which only a new version of a format should need:
//
//	go test ./cmd/tickfeed -run 'TestV1FilesAreReadForEver$' -v1.update
func TestV1FilesAreReadForEver(t *testing.T) {
	if *updateV1 {
		makeV1(t)
	}
	for _, name := range []string{"session.tick", "session.tick.zst", "session.txt"} {
		t.Run(name, func(t *testing.T) { v1Recording(t, filepath.Join(v1, name)) })
	}
	t.Run("journal", v1Journal)
	t.Run("publisher", v1Publisher)
	t.Run("position", v1Position)
	t.Run("ledger", v1Ledger)
}

// v1Line is a tick with everything that belongs to it. It names each field, so that a field that a later version adds changes
// nothing.
func v1Line(j *journalled) string {
	t := &j.tick
	line := fmt.Sprintf("%v %d %d %v instrument %d event %d flags %d side %d status %d values %d", j.session, j.publish, t.Seq, t.Kind,
		t.Instrument, t.EventTime, t.Flags, t.Side, t.Status, t.Values)
	definition := func(d *feed.Definition) {
		line += fmt.Sprintf(" definition %q %q %d %d %q %d %d", d.Symbol, d.Venue, d.PriceExponent, d.SizeExponent, d.Currency, d.TickSize, d.Lot)
	}
	if x := t.Extra; x != nil {
		line += fmt.Sprintf(" ref %q old %d %d", x.TradeRef, x.OldPrice, x.OldSize)
		if s := x.Summary; s != nil {
			line += fmt.Sprintf(" summary %d %d %d %d %d size %d side %d time %d id %d ref %q volume %d trades %d", s.TradingDay,
				s.Open, s.High, s.Low, s.Last, s.LastSize, s.LastSide, s.LastTime, s.LastID, s.LastRef, s.Volume, s.Trades)
		}
		if x.Definition != nil {
			definition(x.Definition)
		}
	}
	if j.def != nil {
		definition(j.def)
	}
	return line + "\n"
}

// digest is a checksum of ticks. Where one is not as it should be, session.txt is what the recording says for people.
func digest(ticks []journalled) string {
	h := sha256.New()
	for i := range ticks {
		io.WriteString(h, v1Line(&ticks[i])) // a hash takes everything
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:12])
}

func digestState(s *feed.State) string {
	var entries []journalled
	for entry := range s.Entries(nil) {
		entries = append(entries, journalled{tick: entry})
	}
	return digest(entries)
}

// readTicks returns the ticks that r reads, and how much is missing.
func readTicks(t *testing.T, r *recording.Reader) (all []journalled, stats recording.TicksStats) {
	t.Helper()
	ticks := recording.NewTicks(r, nil)
	for {
		part, err := ticks.Next()
		if err == io.EOF {
			return all, ticks.Stats()
		}
		require.NoError(t, err)
		for _, tick := range part.Ticks {
			def := *ticks.Definition(tick.Instrument)
			all = append(all, journalled{part.Session, part.PublishTime, tick, &def})
		}
	}
}

func v1Recording(t *testing.T, path string) {
	if filepath.Ext(path) == ".txt" {
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		path = filepath.Join(t.TempDir(), "read.tick")
		out, err := os.Create(path)
		require.NoError(t, err)
		require.NoError(t, text.Read(out, f))
		require.NoError(t, out.Close())
	}
	in, err := recording.Open(path)
	require.NoError(t, err)
	defer in.Close()
	reader := func() *recording.Reader {
		r, err := in.Reader()
		require.NoError(t, err)
		return r
	}
	r := reader()
	h := r.Header()
	assert.Equal(t, codec.FileHeader{
		Version: 1, Mode: codec.ModeLive, Lineage: feed.Lineage{{ID: 0x1a, First: 1}}, Seed: h.Seed, Source: "every field", Next: 1, Created: noon,
	}, *h)
	ticks, stats := readTicks(t, r)
	assert.Len(t, ticks, v1Ticks)
	assert.Equal(t, v1TicksDigest, digest(ticks))
	assert.Equal(t, recording.TicksStats{NotAsked: 8, Withheld: 7, Gone: 5 + 6, GoneDamaged: 6}, stats)
	assert.True(t, r.Closed(), "index and trailer")
	assert.Equal(t, feed.Lineage{{ID: 0x1a, First: 1}, {ID: 0x2b, First: v1Second}}, r.Header().Lineage)
	assert.EqualValues(t, v1Numbers+1, r.NextSeq())

	got, err := survey.Take(t.Context(), reader(), place.PublishClock, nil)
	require.NoError(t, err)
	assert.True(t, got.Sound())
	assert.Equal(t, 4, got.Snapshots)
	assert.EqualValues(t, []uint64{8, 7, 5, 6}, []uint64{got.NotAsked, got.Withheld, got.Expired, got.Damaged})
	stateAt := func(text string) *feed.State {
		at, err := place.Parse(text, nil)
		require.NoError(t, err)
		moment, err := edit.StateAt(t.Context(), reader(), at, place.MarketClock, nil)
		require.NoError(t, err)
		return moment.State
	}
	assert.Equal(t, v1StateDigest, digestState(stateAt(fmt.Sprintf("seq:%d", v1Numbers+1))))
	state := stateAt("seq:42")
	assert.Equal(t, v1GapDigest, digestState(state))
	in1, ok := state.Instrument(1)
	require.True(t, ok)
	assert.EqualValues(t, 101, in1.Quote.Bid, "only the snapshot after the damaged numbers says so")
	r = reader()
	require.NoError(t, r.SeekSeq(v1Second+5), "by the index")
	item, err := r.Next()
	require.NoError(t, err)
	assert.True(t, item.Range.Contains(v1Second+5), item.Range)
}

// copyV1 copies a file or directory of v1, which a test that locks and appends must not change.
func copyV1(t *testing.T, name string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), name)
	info, err := os.Stat(filepath.Join(v1, name))
	require.NoError(t, err)
	if info.IsDir() {
		require.NoError(t, os.CopyFS(to, os.DirFS(filepath.Join(v1, name))))
		return to
	}
	b, err := os.ReadFile(filepath.Join(v1, name))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
	return to
}

// The journal has two sessions in three files; the last one ends within a packet.
func v1Journal(t *testing.T) {
	dir := copyV1(t, "journal")
	files, err := filepath.Glob(filepath.Join(dir, "*.tick"))
	require.NoError(t, err)
	require.Len(t, files, 3)
	j, err := journal.Open(journal.Config{Dir: dir, Now: func() int64 { return noon }})
	require.NoError(t, err)
	r := j.Recovered()
	assert.Equal(t, feed.Lineage{{ID: 0x1a, First: 1}, {ID: 0x2b, First: 30}}, r.Lineage)
	assert.Equal(t, codec.ModeLive, r.Mode)
	assert.EqualValues(t, 58, r.Next)
	assert.EqualValues(t, 1772465400053000159, r.LastTime)
	assert.EqualValues(t, 1772461832098765166, r.LastEvent)
	assert.EqualValues(t, 70, r.Torn)
	assert.Empty(t, r.Damage)
	assert.Equal(t, v1JournalState, digestState(r.State))
	assert.EqualValues(t, 1, j.Tail())

	var packets bytes.Buffer
	var sessions []feed.Session
	c := j.Cursor(1)
	for next := uint64(1); ; {
		chunk, err := c.Next()
		if err == io.EOF {
			assert.EqualValues(t, 58, next)
			break
		}
		require.NoError(t, err)
		require.True(t, chunk.Gone.Empty(), chunk.Gone)
		require.Equal(t, next, chunk.Range.From)
		next = chunk.Range.To
		packets.Write(chunk.Data)
		if !slices.Contains(sessions, chunk.Session) {
			sessions = append(sessions, chunk.Session)
		}
	}
	require.NoError(t, c.Close())
	assert.Equal(t, []feed.Session(r.Lineage), sessions)
	assert.Equal(t, v1JournalBytes, fmt.Sprintf("%x", sha256.Sum256(packets.Bytes()))[:24])
	require.NoError(t, j.Close())

	var all []journalled
	for _, name := range files {
		in, err := recording.Open(name)
		require.NoError(t, err)
		r, err := in.Reader()
		require.NoError(t, err)
		ticks, _ := readTicks(t, r)
		all = append(all, ticks...)
		require.NoError(t, in.Close())
	}
	assert.Len(t, all, 57)
	assert.Equal(t, v1JournalTicks, digest(all))
}

// A publisher goes on in the journal.
func v1Publisher(t *testing.T) {
	p, err := publisher.New(publisher.Config{Journal: copyV1(t, "journal"), Now: func() int64 { return noon }})
	require.NoError(t, err)
	state, next := p.State()
	assert.EqualValues(t, 58, next)
	assert.Equal(t, v1JournalState, digestState(state))
	require.NoError(t, p.Close(t.Context()))
}

func v1Position(t *testing.T) {
	s, err := subscriber.New(subscriber.Config{Addrs: []string{"127.0.0.1:1"}, PositionFile: copyV1(t, "position.json")})
	require.NoError(t, err)
	assert.Equal(t, codec.Position{
		Lineage: feed.Lineage{{ID: 0x1a, First: 1}, {ID: 0x2b, First: 30}}, Next: 58,
	}, s.Position())
}

func v1Ledger(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(v1, "ledger.json"))
	require.NoError(t, err)
	var l feed.Ledger
	require.NoError(t, json.Unmarshal(b, &l))
	set := feed.NewRangeSet
	require.Equal(t, []feed.SessionID{0x1a, 0x2b}, l.Sessions())
	assert.Equal(t, feed.Account{
		Session:   0x1a,
		Delivered: set(feed.Range{From: 11, To: 21}, feed.Range{From: 61, To: 62}),
		Filtered:  []feed.Span{{Range: feed.Range{From: 21, To: 31}, Delivered: 4}},
		Withheld:  set(feed.Range{From: 31, To: 33}),
		NotAsked:  set(feed.Range{From: 33, To: 36}),
		Lost:      set(feed.Range{From: 1, To: 11}, feed.Range{From: 36, To: 41}),
		Expired:   set(feed.Range{From: 1, To: 11}),
		Disowned:  set(feed.Range{From: 41, To: 44}),
	}, l.Account(0x1a))
	assert.Equal(t, feed.Account{Session: 0x2b, Delivered: set(feed.Range{From: 41, To: 1 << 40})}, l.Account(0x2b))
	assert.Equal(t, feed.Totals{Delivered: 11 + 4 + 1<<40 - 41, NotAsked: 6 + 3, Withheld: 2, Lost: 15, Expired: 10, Disowned: 3}, l.Totals())
}

// makeV1 makes the files of v1 with the programs' own code.
func makeV1(t *testing.T) {
	require.NoError(t, os.RemoveAll(v1))
	require.NoError(t, os.MkdirAll(filepath.Join(v1, "journal"), 0o755))
	create := func(name string) *os.File {
		f, err := os.Create(filepath.Join(v1, name))
		require.NoError(t, err)
		return f
	}
	session := recordEveryField(t, create("session.tick"), true)
	assert.Equal(t, v1TicksDigest, digest(session.ticks), "session")
	assert.Equal(t, v1StateDigest, digestState(session.state), "session")
	packed, err := recording.Compress(create("session.tick.zst"))
	require.NoError(t, err)
	recordEveryField(t, packed, true)
	in, err := recording.Open(filepath.Join(v1, "session.tick"))
	require.NoError(t, err)
	defer in.Close()
	txt := create("session.txt")
	_, err = text.Write(txt, in, in.Size())
	require.NoError(t, err)
	require.NoError(t, txt.Close())
	makeV1Journal(t)
	makeV1Position(t)

	var l feed.Ledger
	l.Expire(0x1a, feed.Range{From: 1, To: 11})
	l.Deliver(0x1a, feed.Range{From: 11, To: 21})
	l.DeliverFiltered(0x1a, feed.Range{From: 21, To: 31}, 4)
	l.Withhold(0x1a, feed.Range{From: 31, To: 33})
	l.NotAsked(0x1a, feed.Range{From: 33, To: 36})
	l.Lose(0x1a, feed.Range{From: 36, To: 41})
	l.Deliver(0x1a, feed.Range{From: 41, To: 44})
	l.Disown(0x1a, feed.Range{From: 41, To: 61})
	l.Deliver(0x1a, feed.Range{From: 61, To: 62})
	l.Deliver(0x2b, feed.Range{From: 41, To: 1 << 40})
	b, err := json.Marshal(&l)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(v1, "ledger.json"), append(b, '\n'), 0o644))
}

// makeV1Journal makes a journal of two sessions with the packets of a recording. Its publisher was killed in the midst of a
// write.
func makeV1Journal(t *testing.T) {
	path, dir := filepath.Join(t.TempDir(), "whole.tick"), t.TempDir()
	f, err := os.Create(path)
	require.NoError(t, err)
	whole := recordEveryField(t, f, false)
	last := whole.ticks[:len(whole.ticks)-1] // without the torn one
	assert.Equal(t, v1JournalTicks, digest(last), "journal")
	stateAt := func(seq uint64) *feed.State {
		state := feed.NewState()
		for i := range whole.ticks {
			if whole.ticks[i].tick.Seq < seq {
				require.NoError(t, state.Apply(&whole.ticks[i].tick))
			}
		}
		return state
	}
	assert.Equal(t, v1JournalState, digestState(stateAt(uint64(len(whole.ticks)))), "journal")
	in, err := recording.Open(path)
	require.NoError(t, err)
	defer in.Close()
	r, err := in.Reader()
	require.NoError(t, err)
	j, err := journal.Open(journal.Config{Dir: dir, Source: "every field", Now: func() int64 { return noon }})
	require.NoError(t, err)
	var session feed.SessionID
	for {
		item, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if item.Kind != recording.KindPackets {
			continue
		}
		lineage := r.Header().Lineage
		if now := lineage.Current().ID; now != session {
			session = now
			require.NoError(t, j.Begin(lineage, codec.ModeLive, stateAt(item.Range.From)))
		}
		for h, raw := range recording.Packets(item.Data) {
			if h.First == 10 {
				require.NoError(t, j.Rotate(stateAt(h.First)))
			}
			require.NoError(t, j.Append(raw, h.First+h.Count, h.PublishTime))
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.tick"))
	require.NoError(t, err)
	slices.Sort(files)
	for i, name := range files { // before the journal is closed
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		if i == len(files)-1 {
			b = b[:len(b)-7]
		}
		require.NoError(t, os.WriteFile(filepath.Join(v1, "journal", filepath.Base(name)), b, 0o644))
	}
	require.NoError(t, j.Close())
}

// makeV1Position has a subscriber write its position. The session that the publisher begins is not in it, because that has no
// numbers yet.
func makeV1Position(t *testing.T) {
	pub := serve(t, publisher.Config{Journal: copyV1(t, "journal"), Now: func() int64 { return noon }}, "127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "position.json")
	s, err := subscriber.New(subscriber.Config{Addrs: []string{pub.addr}, PositionFile: path, Start: codec.Start{Kind: codec.StartBeginning}})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, next := pub.State()
	err = s.Run(ctx, func(b *subscriber.Batch) error {
		if n := len(b.Ticks); n > 0 && b.Ticks[n-1].Seq == next-1 {
			cancel()
		}
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(v1, "position.json"), b, 0o644))
}
