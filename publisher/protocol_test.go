package publisher_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

// A rule is a sentence of PROTOCOL.md that binds the server.
type rule struct {
	section string // heading of its section
	says    string // the sentence, without marks of emphasis
	by      string // the tests that check it, elsewhere; empty if test does
	test    func(t *testing.T)
}

// rules lists the sentences of PROTOCOL.md that bind the server, in their order, each with the tests that check it.
// Sentences that bind only the client, or only define a word, are left out.
var rules = []rule{
	{"Conventions", "Each is a message: an array whose first element is the type, a positive fixint.", "", testLayout},
	{"Conventions", "a reader MUST accept every width and MUST refuse a negative uint.", "", testWidths},
	{"Conventions", "MUST NOT hold invalid UTF-8, nor characters that are not graphic", "TestHostileClient", nil},
	{"Conventions", "may hold anything and MUST be made harmless before it reaches a terminal", "", testClientTextIsHarmless},
	{"Conventions", "Durations are nanoseconds (uint, at most 24 h).", "TestHostileClient", nil},

	{"Terms", "it has a random id of 64 bits that is not 0, and a first, its lowest number.", "", testSessionIDs},
	{"Terms", "It is a root, which follows no other session, or the child of an earlier one, whose numbering it continues from its first.", "", testSessionIDs},
	{"Terms", "A message carries at most 65 entries: the newest.", "TestMoreSessionsThanALineageNames TestManyRestarts", nil},
	{"Terms", "it never decreases along a lineage", "", testPublishTimesNeverDecrease},

	{"A connection", "the server closes connections that take longer than a few seconds.", "TestHostileClient TestSilentConnections", nil},
	{"A connection", "Only messages of types 64 to 127 may come before it, at most 16,384 bytes of them.", "TestHostileClient", nil},
	{"A connection", "The server answers welcome, or refusal and closes.", "TestRefusals TestRefusalCanBeRead", nil},
	{"A connection", "if needed a snapshot, then packets, each covering a range of numbers, for as long as the session lasts.", "TestStarts", nil},
	{"A connection", "It sends a heartbeat whenever it has sent nothing else for one interval (heartbeat of the welcome).", "", testHeartbeats},
	{"A connection", "A peer that gives no sign of life for three intervals is dead, whatever TCP says.", "", testSilence},
	{"A connection", "Either side ends the connection with goodbye and closes.", "TestEndAndGoodbye TestGoodbyeCanBeRead", nil},
	{"A connection", "A side that receives what this text does not allow sends goodbye (code protocol) and closes", "TestHostileClient", nil},
	{"A connection", "snapshot part, heartbeat; then snapshot end; or goodbye", "", testSnapshotOrder},
	{"A connection", "heartbeat, session, subscribed, snapshot begin after subscribed, goodbye", "TestSubscribeAfterTheEnd", nil},

	{"The joining rule", "each packet's first MUST equal at; then at becomes first + count;", "TestFilteredTogether", nil},
	{"The joining rule", "each heartbeat's covered, each subscribed's from and each end's final MUST equal at.", "TestFilter TestEndAndGoodbye", nil},
	{"The joining rule", "A line starts at the beginning of the packet that holds the position", "", testLineStartsAtItsPacket},
	{"The joining rule", "A client accounts for every number that its lines cover, and for those below the first one, in exactly one way", "TestFilteredTogether", nil},

	{"Where a line starts", "start; of start 3 the number asked for, if that is higher", "TestStarts", nil},
	{"Where a line starts", "the fork of both lineages", "TestResume", nil},
	{"Where a line starts", "or that is above the position", "", testLineStartsAtItsPacket},
	{"Where a line starts", "The fork is the least of: the client's next; the first of the session that follows it in the client's lineage; the first of the session that follows it in the publisher's.", "", testFork},
	{"Where a line starts", "Before its first packet a line is given a snapshot whose seq is the position: of scope 1 if the reason is 0 and the start 1, else of scope 0.", "TestStarts", nil},
	{"Where a line starts", "There is none if the position is 1, where the state is empty; none if the line is resumed and the hello's has state was true", "TestStarts TestResume", nil},
	{"Where a line starts", "then the line begins with gone, and the snapshot comes after it.", "TestMemoryOnlyPublisherForgets", nil},
	{"Where a line starts", "beyond the head it is refused with code bad request", "TestHostileClient", nil},
	{"Where a line starts", "the first packet with a publish time of at least value", "", testStartTime},
	{"Where a line starts", "the oldest number that the publisher was meant to keep", "TestMoreSessionsThanALineageNames", nil},
	{"Where a line starts", "with a journal the first number of its lineage, and numbers that retention removed are gone", "TestBeginningAfterRetention", nil},
	{"Where a line starts", "without a journal the oldest one that it has", "TestBeginningOfMemory", nil},
	{"Where a line starts", "if that may have been before all that the publisher has, as start 2", "TestBeginningAfterRetention", nil},

	{"Where a line starts", "A position whose fork is beyond the head of the publisher is refused (code bad request).", "TestPositionBeyondTheHead", nil},
	{"Where a line starts", "later than the publisher's clock it is refused with code bad request", "TestHostileClient", nil},

	{"Sessions change", "The welcome names the publisher's lineage, and gives the seed of the session that owns start.", "", testWelcomeOfAnOlderSession},
	{"Sessions change", "a session message stands between the packets, with the lineage up to that session; on a filtered line too.", "", testSessionMessages},
	{"Sessions change", "a session of its own that names its origin and keeps the recorded numbers.", "", testReplayNamesItsOrigin},
	{"Sessions change", "it says goodbye (code shutdown, retry at once)", "", testMoved},
	{"Sessions change", "is given a snapshot as of the sibling's first number (reason 3), and everything from there on.", "TestSiblingOfAReplayIsFollowedWithoutALoss", nil},

	{"1 hello (client)", "the line ends soon after it has covered the numbers below", "TestUntil TestGapOnASecondConnection", nil},

	{"2 welcome", "of the hello's, those that the server grants", "TestFeatures", nil},
	{"2 welcome", "oldest number that the publisher has; at most head", "", testWelcome},
	{"2 welcome", "the interval of both sides, 1 ms to 24 h", "", testHeartbeats},
	{"2 welcome", "first number that the line covers; at most the position", "", testLineStartsAtItsPacket},
	{"2 welcome", "the publisher's clock", "", testWelcome},

	{"3 refusal, 4 goodbye (either side)", "the publisher stops; retry after differs between clients, to spread them", "TestRetryAfterIsSpread", nil},
	{"3 refusal, 4 goodbye (either side)", "too many connections or handshakes", "TestMaxConnections", nil},
	{"3 refusal, 4 goodbye (either side)", "no common protocol version", "TestHostileClient TestRefusals", nil},
	{"3 refusal, 4 goodbye (either side)", "credentials missing or wrong", "TestHostileClient TestRefusals", nil},
	{"3 refusal, 4 goodbye (either side)", "the peer broke this protocol", "TestHostileClient", nil},
	{"3 refusal, 4 goodbye (either side)", "a field of a hello or subscribe is out of bounds", "TestHostileClient", nil},
	{"3 refusal, 4 goodbye (either side)", "the slow-consumer policy", "TestPolicyWhileAWriteWaits", nil},
	{"3 refusal, 4 goodbye (either side)", "nothing heard for three intervals", "TestHostileClient", nil},

	{"5 packet", "A writer MUST use exactly these widths", "", testLayout},

	{"6 heartbeat", "next number of the session: more than covered while the line lags", "", testHeartbeatFields},
	{"6 heartbeat", "Before the heartbeat of a filtered line that has nothing to send, a packet skips up to the head", "", testIdleFilteredLine},

	{"7 snapshot begin, 8 snapshot part, 9 snapshot end", "The state as of seq: every tick below seq is in it, none from seq on.", "TestStarts TestJoinsAreSharedFor100ms", nil},
	{"7 snapshot begin, 8 snapshot part, 9 snapshot end", "Begin, parts and end name the same seq, which MUST be the position; parts are numbered from 0 and joined without a hole; the end gives their number.", "", testSnapshotOrder},
	{"7 snapshot begin, 8 snapshot part, 9 snapshot end", "the same, but only definitions are sent, and the rest of the state is unknown.", "", testSnapshotOfDefinitions},

	{"11 subscribe (client), 12 subscribed", "The server answers all requests in order", "TestSubscribesAreAnsweredInOrder TestSubscribeWaitsForThePosition", nil},
	{"11 subscribe (client), 12 subscribed", "each with subscribed at a place of its choice", "", testSubscribeBeforeTheWelcome},
	{"11 subscribe (client), 12 subscribed", "packets before it are of the old filter and seed, packets after it of the new ones.", "TestFilter", nil},
	{"11 subscribe (client), 12 subscribed", "Then a snapshot of scope 2 as of from, whose filter is the patterns that are new, gives the instruments that were added; there is none if no pattern is new, as when the filter before was empty.", "", testSubscribed},
	{"11 subscribe (client), 12 subscribed", "Ticks of instruments that no longer match are not sent", "", testSubscribed},
	{"11 subscribe (client), 12 subscribed", "that of the subscribe", "TestSixteenFilterChangesWait", nil},

	{"14 end", "no number from here on will ever be given", "TestEndAndGoodbye", nil},
	{"14 end", "It comes after the last packet. The connection lives on: heartbeats continue", "", testAfterTheEnd},

	{"Body entries", "together they cover exactly count numbers.", "TestFilteredTogether", nil},
	{"Body entries", "numbers withheld by the subscription's own slow-consumer policy. The only entry of its packet; a snapshot of scope 0 as of its end follows", "", testWithheld},
	{"Body entries", "The only entry of its packet; a snapshot of scope 0 as of its end follows", "TestGoneAcrossSessions TestMemoryOnlyPublisherForgets", nil},
	{"Body entries", "the first is 0, each new one is the next, and none is used before it is defined.", "TestStarts TestInstrumentIDsAreDense", nil},

	{"Checksums", "The seed of a full line is the CRC-32C of the session id as eight bytes, most significant first", "", testSeeds},
	{"Checksums", "The seed of a filtered line is given by welcome, subscribed and session. A packet of another session or line never passes.", "", testSeeds},

	{"Filters", "Order and repetition do not matter.", "", testOrderOfPatterns},
	{"Filters", "A filtered line carries ticks of the instruments wanted, definitions included; the numbers between are skipped.", "TestFilter", nil},

	{"Slow consumers", "A subscriber that reads too slowly never delays the publisher or others.", "TestSlowConsumers", nil},
	{"Slow consumers", "it reads on from where it is, out of the publisher's journal.", "TestSlowConsumers TestStalledReadersOfTheJournal", nil},
	{"Slow consumers", "when it lags more than max lag in publish time: a skip n < 0, and a snapshot.", "", testWithheld},
	{"Slow consumers", "when it lags more: goodbye, code slow", "TestPolicyWhileAWriteWaits", nil},

	{"Limits", "a message before the welcome, either way", "", testGreatestWelcome},
	{"Limits", "all messages of types 64 to 127 before the hello; all those before its answer", "TestHostileClient", nil},
	{"Limits", "A reader MUST compare every length and count that it reads with the bytes that the bound leaves, before it reserves memory", "TestHostileClient", nil},
	{"Limits", "Msgpack ext is not used and MUST be refused. Floats, maps, bool and nil may stand in elements that a reader ignores.", "TestHostileClient", nil},

	{"Versions", "the welcome names the one that is used, or the refusal's code is version.", "", testVersions},
	{"Versions", "a server reads no more of a hello that it has no version in common with.", "TestHostileClient", nil},
	{"Versions", "a reader MUST ignore elements beyond those it knows, and MUST refuse a message that lacks one.", "TestHostileClient", nil},
	{"Versions", "A message of an unknown type up to 63 ends the connection; one of 64 to 127 is passed over.", "TestHostileClient", nil},

	{"Security", "It is never logged.", "", testTokenIsNotLogged},
	{"Security", "The rate of a client's messages after the welcome needs no bound of its own.", "TestPulsesWithoutEnd", nil},
	{"Security", "Before a welcome a server grants the bytes under Limits, a few seconds, and a bounded number of connections.", "TestHostileClient TestSilentConnections TestTheOldestHandshakeGoes", nil},
}

// TestProtocol checks that each rule is in the text of PROTOCOL.md and has a test. If a sentence of the text is
// changed, this test fails until the rule, and its test, have been adapted.
func TestProtocol(t *testing.T) {
	sections := protocolSections(t)
	tests := testNames(t)
	done := map[string]int{}
	for _, r := range rules {
		name := r.section + ": " + r.says
		if len(name) > 100 {
			name = name[:100]
		}
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			text, ok := sections[r.section]
			require.True(t, ok, "PROTOCOL.md has no section %q", r.section)
			assert.Contains(t, text, r.says, "the section no longer has this sentence: adapt the rule and its test")
			require.NotEqual(t, r.by == "", r.test == nil, "a rule has either a test here or tests elsewhere")
			for _, by := range strings.Fields(r.by) {
				assert.Contains(t, tests, by, "no test of this package has that name")
			}
			if r.test != nil {
				r.test(t)
			}
		})
		done[r.section]++
	}
	assert.Greater(t, len(done), 15)
}

// protocolSections returns the text of PROTOCOL.md by heading, each section as one line without marks of emphasis.
func protocolSections(t *testing.T) map[string]string {
	raw, err := os.ReadFile("../codec/PROTOCOL.md")
	require.NoError(t, err)
	sections, heading := map[string]string{}, ""
	for _, line := range strings.Split(string(raw), "\n") {
		if h := strings.TrimLeft(line, "#"); h != line {
			heading = strings.TrimSpace(h)
			continue
		}
		line = strings.NewReplacer("`", "", "*", "").Replace(line)
		sections[heading] += strings.Join(strings.Fields(line), " ") + " "
	}
	return sections
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

func testNames(t *testing.T) map[string]bool {
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	names := map[string]bool{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range testFunc.FindAllSubmatch(raw, -1) {
			names[string(m[1])] = true
		}
	}
	return names
}

// An observed is a message as it was received.
type observed struct {
	at  time.Time
	typ codec.Type
	raw []byte
	msg codec.Message // nil for packets and parts
}

// observe reads messages for d and returns them unchecked.
func (c *client) observe(d time.Duration) []observed {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(d))
	var seen []observed
	for {
		typ, raw, err := c.r.Next()
		if err != nil {
			return seen
		}
		o := observed{at: time.Now(), typ: typ, raw: bytes.Clone(raw)}
		if typ != codec.TypePacket && typ != codec.TypeSnapshotPart {
			o.msg, err = codec.Decode(raw)
			require.NoError(c.t, err)
		}
		seen = append(seen, o)
	}
}

func bubble(f func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

var fromBeginning = codec.Start{Kind: codec.StartBeginning}

func testLayout(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Memory: publisher.MinMemory})
		w.quotes(100)
		full := w.join(codec.Hello{Start: fromBeginning})
		filtered := w.join(codec.Hello{Filter: codec.Filter{"A0"}, Start: fromBeginning})
		held := w.position(full, 5)
		packets := 0
		check := func(seen []observed) {
			for _, o := range seen {
				require.Equal(t, byte(0x90), o.raw[0]&0xf0, "an array of less than 16 elements")
				require.Equal(t, byte(o.typ), o.raw[1], "the type is a positive fixint")
				if o.typ == codec.TypePacket {
					packets++
					body := int(binary.BigEndian.Uint16(o.raw[44:]))
					assert.Equal(t, []byte{0x97, 5, 0xce, 0xcf, 0xcf, 0xd3, 0xd3, 0xc5},
						[]byte{o.raw[0], o.raw[1], o.raw[2], o.raw[7], o.raw[16], o.raw[25], o.raw[34], o.raw[43]})
					assert.Equal(t, 46+body, len(o.raw))
				}
			}
		}
		check(full.observe(time.Second / 2))
		require.NoError(t, w.pub.Publish(t.Context(), []feed.Tick{feed.Trade{Price: 1, Size: 1}.Tick(w.ids[1], noon)}))
		check(filtered.observe(2 * time.Second)) // ticks, a skip, heartbeats
		for range 12 {
			w.quotes(5000)
		}
		resumed := w.join(codec.Hello{Position: held})
		check(resumed.observe(time.Second / 2)) // gone, a snapshot
		w.cancel()
		check(resumed.observe(time.Second)) // a goodbye
		assert.Greater(t, packets, 10)
	})(t)
}

func testWidths(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		for name, seq := range map[string][]byte{
			"positive fixint": {0x09}, "uint 8": {0xcc, 9}, "uint 16": {0xcd, 0, 9}, "uint 32": {0xce, 0, 0, 0, 9},
			"uint 64": {0xcf, 0, 0, 0, 0, 0, 0, 0, 9}, "int 8": {0xd0, 9}, "int 16": {0xd1, 0, 9}, "int 32": {0xd2, 0, 0, 0, 9},
			"int 64": {0xd3, 0, 0, 0, 0, 0, 0, 0, 9},
		} {
			c := w.raw(hello(helloStart, 3, helloStartValue, msgpack.RawMessage(seq)))
			m := c.message()
			require.IsType(t, &codec.Welcome{}, m, name)
			c.send(&codec.Goodbye{Code: codec.CodeDone})
			c.nc.Close()
		}
		for name, seq := range map[string][]byte{
			"negative fixint": {0xff}, "int 8": {0xd0, 0x80}, "int 16": {0xd1, 0x80, 0}, "int 32": {0xd2, 0x80, 0, 0, 0},
			"int 64": {0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		} {
			c := w.raw(hello(helloStart, 3, helloStartValue, msgpack.RawMessage(seq)))
			m := c.message()
			require.IsType(t, &codec.Refusal{}, m, name)
			assert.Equal(t, codec.CodeBadRequest, m.(*codec.Refusal).Code, name)
			c.nc.Close()
		}
	})(t)
}

func testClientTextIsHarmless(t *testing.T) {
	bubble(func(t *testing.T) {
		var log bytes.Buffer
		w := start(t, publisher.Config{Seed: 1, Logger: zerolog.New(zerolog.SyncWriter(&log))})
		c := w.raw(hello(helloClient, "evil\x1b[2J\r\n\u202e\xff"))
		require.IsType(t, &codec.Welcome{}, c.message())
		synctest.Wait()
		require.Len(t, w.pub.Stats().Conns, 1)
		assert.Equal(t, "evil?[2J????", w.pub.Stats().Conns[0].Client)
		c.nc.Close()
		time.Sleep(time.Second)
		w.stop()
		assert.Contains(t, log.String(), "evil?[2J????")
		for _, forbidden := range []string{"\x1b", "\\u001b", "\u202e", "\xff"} {
			assert.NotContains(t, log.String(), forbidden)
		}
	})(t)
}

func testSessionIDs(t *testing.T) {
	bubble(func(t *testing.T) {
		seen := map[feed.SessionID]bool{0: true}
		for range 20 { // the same seed each time
			w := start(t, publisher.Config{Seed: 1})
			l := w.pub.Lineage()
			require.Len(t, l, 1)
			assert.Equal(t, uint64(1), l[0].First, "a root is numbered from 1")
			assert.False(t, seen[l[0].ID], "an id that was there, or 0")
			seen[l[0].ID] = true
			w.stop()
		}
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}}
		w := start(t, cfg)
		w.quotes(10)
		root := w.pub.Lineage()
		w.stop()
		w.open(cfg)
		child := w.pub.Lineage()
		require.Len(t, child, 2)
		assert.Equal(t, root[0], child[0])
		assert.Equal(t, uint64(14), child[1].First, "a child is numbered on from its first")
		assert.False(t, seen[child[1].ID])
		w.quotes(1)
		assert.Equal(t, uint64(15), w.pub.Stats().Head)
	})(t)
}

func testPublishTimesNeverDecrease(t *testing.T) {
	bubble(func(t *testing.T) {
		now := noon
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}, Now: func() int64 { return now }}
		w := start(t, cfg)
		for range 3 {
			w.quotes(10)
			now -= int64(time.Hour)
			w.quotes(10)
			now += int64(time.Minute)
			w.stop()
			now -= int64(time.Hour)
			w.open(cfg)
			w.quotes(10)
		}
		for _, filter := range []codec.Filter{nil, {"A1"}} {
			c := w.join(codec.Hello{Start: fromBeginning, Filter: filter})
			c.until(94) // each packet is compared with the one before
			assert.GreaterOrEqual(t, c.publish, noon)
			c.nc.Close()
		}
	})(t)
}

func testHeartbeats(t *testing.T) {
	for _, asked := range []time.Duration{0, 200 * time.Millisecond, time.Nanosecond, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, publisher.Config{Seed: 1})
			c := w.join(codec.Hello{Start: fromBeginning, Heartbeat: asked})
			interval := c.welcome.Heartbeat
			if asked == 0 || asked == 200*time.Millisecond {
				assert.Equal(t, max(asked, min(publisher.DefaultHeartbeat, publisher.DefaultHeartbeat*max(0, 1-asked))), interval)
			}
			assert.GreaterOrEqual(t, interval, time.Millisecond)
			assert.LessOrEqual(t, interval, 24*time.Hour)
			c.until(4)
			last := time.Now() // when a message was last sent to it

			var beats []time.Time
			for len(beats) < 5 { // a quiet market
				c.send(&codec.Pulse{Next: c.next})
				for _, o := range c.observe(interval / 2) {
					require.Equal(t, codec.TypeHeartbeat, o.typ)
					beats = append(beats, o.at)
				}
			}
			for _, at := range beats {
				assert.Equal(t, interval, at.Sub(last), "one interval after what came before")
				last = at
			}
			for range 10 { // a market with a tick in 9 of 10 intervals: no heartbeat is due
				time.Sleep(time.Until(last.Add(interval * 9 / 10)))
				w.quotes(1)
				c.send(&codec.Pulse{Next: c.next})
				seen := c.observe(interval / 20)
				require.Len(t, seen, 1)
				require.Equal(t, codec.TypePacket, seen[0].typ)
				last = seen[0].at
			}
			c.nc.Close()
		})
	}
}

func testSubscribeBeforeTheWelcome(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		c := w.raw(join(hello(helloStart, 2, helloFilter, []string{"A0"}), pack(11, 5, []string{"A1"})))
		c.welcome = c.message().(*codec.Welcome)
		c.at, c.next, c.seed, c.lineage = c.welcome.Start, c.welcome.Start, c.welcome.Seed, c.welcome.Lineage
		for len(c.events) < 2 {
			require.NoError(t, c.step())
		}
		assert.Equal(t, "subscribed 5", c.events[0])
		w.quotes(3)
		c.until(16)
		assert.Equal(t, uint64(15), c.ticks[len(c.ticks)-1].Seq)
		assert.Equal(t, w.ids[1], c.ticks[len(c.ticks)-1].Instrument)
	})(t)
}

func testSilence(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		c := w.join(codec.Hello{})
		for range 5 {
			time.Sleep(3*publisher.DefaultHeartbeat - time.Millisecond)
			c.send(&codec.Pulse{})
		}
		for i := range 5 {
			time.Sleep(3*publisher.DefaultHeartbeat - time.Millisecond)
			c.send(&codec.Subscribe{Request: uint64(i)}) // any message that the text names is a sign of life
		}
		began := time.Now()
		synctest.Wait()
		require.Len(t, w.pub.Stats().Conns, 1, "a sign of life within three intervals is enough")
		bye := c.ending()
		require.NotNil(t, bye)
		assert.Equal(t, codec.CodeSilent, bye.Code)
		assert.True(t, bye.Retry)
		assert.Equal(t, 3*publisher.DefaultHeartbeat, time.Since(began))
	})(t)
}

// manyInstruments defines n more instruments.
func (w *world) manyInstruments(n int) {
	w.t.Helper()
	for i := range n {
		_, err := w.pub.Define(context.Background(), feed.Definition{Symbol: fmt.Sprintf("MANY%d", i), Venue: "XNAS", Currency: "USD"})
		require.NoError(w.t, err)
	}
	require.NoError(w.t, w.pub.Flush(context.Background()))
}

func testSnapshotOrder(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.manyInstruments(6000)
		c := w.join(codec.Hello{})
		seen := c.observe(3 * time.Second / 2)
		require.Greater(t, len(seen), 4)
		begin, ok := seen[0].msg.(*codec.SnapshotBegin)
		require.True(t, ok)
		assert.Equal(t, uint64(6004), begin.Seq)
		parts := uint64(0)
		for _, o := range seen[1:] {
			if o.typ == codec.TypeHeartbeat {
				continue
			}
			if end, ok := o.msg.(*codec.SnapshotEnd); ok {
				assert.Equal(t, begin.Seq, end.Seq)
				assert.Equal(t, parts, end.Parts)
				assert.GreaterOrEqual(t, parts, uint64(2))
				return
			}
			require.Equal(t, codec.TypeSnapshotPart, o.typ)
			require.LessOrEqual(t, len(o.raw), 37+65_535)
			part, err := codec.ParsePart(o.raw, c.seed)
			require.NoError(t, err)
			assert.Equal(t, begin.Seq, part.Seq)
			assert.Equal(t, parts, part.Index)
			parts++
		}
		t.Error("the snapshot has no end")
	})(t)
}

func testAfterTheEnd(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		c := w.join(codec.Hello{Start: fromBeginning})
		require.NoError(t, w.pub.End(t.Context()))
		ended, beats := false, 0
		for beats < 3 {
			for _, o := range c.observe(publisher.DefaultHeartbeat / 2) {
				switch m := o.msg.(type) {
				case *codec.End:
					assert.False(t, ended, "once")
					assert.Equal(t, uint64(14), m.Final)
					ended = true
				case *codec.Heartbeat:
					if ended {
						beats++
						assert.Equal(t, codec.Heartbeat{Covered: 14, Head: 14, Now: m.Now}, *m)
					}
				default:
					require.False(t, ended, "%v after the end", o.typ)
				}
			}
			c.send(&codec.Pulse{Next: 14})
		}
		late := w.join(codec.Hello{Start: fromBeginning}) // it is told too, after the last packet
		late.until(14)
		for len(late.events) == 0 {
			require.NoError(t, late.step())
		}
		assert.Equal(t, []string{"end"}, late.events)
	})(t)
}

func testLineStartsAtItsPacket(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		w.quotes(10) // packets that begin at 1, 4, 14
		full := w.join(codec.Hello{Start: fromBeginning})
		begins := []uint64{}
		for _, o := range full.observe(time.Second / 2) {
			if o.typ == codec.TypePacket {
				begins = append(begins, codec.PacketAt(o.raw).First)
			}
		}
		require.Contains(t, begins, uint64(14))
		for position := uint64(1); position <= 24; position++ {
			want := uint64(1)
			for _, b := range append(begins, 24) {
				if b <= position {
					want = b
				}
			}
			asked := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: position}})
			assert.Equal(t, want, asked.welcome.Start, "number %d", position)
			assert.Equal(t, codec.StartedAsAsked, asked.welcome.Reason)
			resumed := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: full.lineage, Next: position}})
			assert.Equal(t, want, resumed.welcome.Start, "position %d", position)
			assert.Equal(t, codec.StartedResumed, resumed.welcome.Reason)
			resumed.state = feed.NewState()
			if position == 14 {
				assert.Empty(t, resumed.events)
			}
			asked.nc.Close()
			resumed.nc.Close()
		}
	})(t)
}

func testFork(t *testing.T) {
	bubble(func(t *testing.T) {
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}}
		w := start(t, cfg)
		w.quotes(10)
		w.stop()
		w.open(cfg) // the child begins at 14
		w.quotes(10)
		l := w.pub.Lineage()
		require.Equal(t, uint64(14), l[1].First)
		stranger := feed.Session{ID: 0xB, First: 8}
		for _, test := range []struct {
			name    string
			lineage feed.Lineage
			next    uint64
			fork    uint64
		}{
			{"the client's next, in the session that is now", l, 17, 17},
			{"the client's next, in the one before", l[:1], 9, 9},
			{"the head", l, 24, 24},
			{"the first of the session that follows in the client's lineage", feed.Lineage{l[0], stranger}, 12, 8},
			{"the first of the session that follows in the publisher's lineage", l[:1], 20, 14},
			{"both follow: the client's is less", feed.Lineage{l[0], stranger}, 30, 8},
			{"both follow: the publisher's is less", feed.Lineage{l[0], {ID: 0xB, First: 18}}, 30, 14},
			{"the last common session counts", feed.Lineage{l[0], l[1], {ID: 0xB, First: 16}}, 19, 16},
		} {
			c := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: test.lineage, Next: test.next}})
			want := codec.StartedResumed
			if test.fork < test.next {
				want = codec.StartedRewound
			}
			assert.Equal(t, want, c.welcome.Reason, test.name)
			assert.Equal(t, test.fork, c.next, test.name)
			c.state = feed.NewState()
			if want == codec.StartedRewound {
				c.snapshot()
				assert.Equal(t, fmt.Sprintf("snapshot %d scope 0", test.fork), c.events[0], test.name)
				c.until(24)
				c.consecutive(test.fork, 24)
			}
			c.nc.Close()
		}
		beyond := w.dial(codec.Hello{Position: codec.Position{Lineage: l, Next: 25}})
		m := beyond.message()
		require.IsType(t, &codec.Refusal{}, m)
		assert.Equal(t, codec.CodeBadRequest, m.(*codec.Refusal).Code)
	})(t)
}

func testStartTime(t *testing.T) {
	for name, cfg := range map[string]publisher.Config{
		"memory": {Seed: 1}, "journal": {Seed: 1, Journal: "j", FS: &memfs.FS{}, Memory: publisher.MinMemory},
	} {
		synctest.Test(t, func(t *testing.T) {
			now := noon
			cfg.Now = func() int64 { return now }
			w := start(t, cfg)
			now += 1000
			w.quotes(10) // 4 to 13, at noon + 1000
			now += 1000
			w.quotes(10) // 14 to 23, at noon + 2000
			if cfg.Journal != "" {
				for range 12 {
					now += 1000
					w.quotes(5000) // memory drops the beginning
				}
			}
			for value, want := range map[int64]uint64{
				0: 1, noon: 1, noon + 1: 4, noon + 999: 4, noon + 1000: 4, noon + 1001: 14, noon + 2000: 14,
				now + 1: w.pub.Stats().Head,
			} {
				now = max(now, value)
				c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: uint64(value)}})
				assert.Equal(t, want, c.welcome.Start, "%s, time noon + %d", name, value-noon)
				assert.Equal(t, codec.StartedAsAsked, c.welcome.Reason)
				c.nc.Close()
			}
			m := w.dial(codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: uint64(now + 1)}}).message()
			require.IsType(t, &codec.Refusal{}, m, "later than the publisher's clock")
			assert.Equal(t, codec.CodeBadRequest, m.(*codec.Refusal).Code)
		})
	}
}

func testWelcomeOfAnOlderSession(t *testing.T) {
	bubble(func(t *testing.T) {
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}}
		w := start(t, cfg)
		w.quotes(10)
		for range 3 {
			w.stop()
			w.open(cfg)
			w.quotes(10)
		}
		l := w.pub.Lineage()
		for i, s := range l {
			c := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: l[:i+1], Next: s.First}})
			assert.Equal(t, l, c.welcome.Lineage, "the whole lineage")
			assert.Equal(t, codec.LineSeed(s.ID, nil), c.welcome.Seed, "the seed of the session that owns %d", s.First)
			c.nc.Close()
		}
	})(t)
}

func testSessionMessages(t *testing.T) {
	for _, filter := range []codec.Filter{nil, {"A1"}, {"NONE"}} {
		synctest.Test(t, func(t *testing.T) {
			cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}}
			w := start(t, cfg)
			w.quotes(9)
			for range 2 {
				w.stop()
				w.open(cfg)
				w.quotes(9)
			}
			l := w.pub.Lineage()
			c := w.join(codec.Hello{Start: fromBeginning, Filter: filter})
			seed, session, at := c.seed, 0, c.at
			for _, o := range c.observe(time.Second / 2) {
				switch o.typ {
				case codec.TypePacket:
					h := codec.PacketAt(o.raw)
					assert.True(t, codec.VerifyPacket(o.raw, seed), "%v, session %d", h.Range(), session)
					assert.GreaterOrEqual(t, h.First, l[session].First, "a packet is of one session")
					if session+1 < len(l) {
						assert.LessOrEqual(t, h.First+h.Count, l[session+1].First)
					}
					at = h.First + h.Count
				case codec.TypeSession:
					session++
					m := o.msg.(*codec.SessionChange)
					assert.Equal(t, l[:session+1], m.Lineage, "the lineage up to that session")
					assert.Equal(t, l[session].First, m.Next)
					assert.Equal(t, at, m.Next, "between the packets")
					assert.Equal(t, codec.LineSeed(l[session].ID, filter), m.Seed)
					seed = m.Seed
				}
			}
			assert.Equal(t, 2, session)
			c.nc.Close()
		})
	}
}

func testReplayNamesItsOrigin(t *testing.T) {
	bubble(func(t *testing.T) {
		w := startRecorded(t, publisher.Config{Seed: 1}, publisher.Origin{Session: 0xABC, First: 41})
		w.quotes(10)
		c := w.join(codec.Hello{Start: fromBeginning})
		assert.Equal(t, codec.ModeReplay, c.welcome.Mode)
		assert.Equal(t, feed.SessionID(0xABC), c.welcome.Origin)
		require.Len(t, c.welcome.Lineage, 1)
		assert.NotEqual(t, c.welcome.Origin, c.welcome.Lineage[0].ID, "a session of its own")
		assert.Equal(t, uint64(41), c.welcome.Start, "the recorded numbers")
		held := c.lineage
		c.nc.Close()
		w.stop()

		w.open(publisher.Config{Seed: 1}) // the live session
		w.quotes(100)
		back := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: held, Next: 50}})
		assert.Equal(t, codec.StartedBySnapshot, back.welcome.Reason, "a client does not resume from a replay into the live session")
		assert.Equal(t, codec.ModeLive, back.welcome.Mode)
		assert.Zero(t, back.welcome.Origin)
	})(t)
}

func testMoved(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Mode: codec.ModeReplay, RetryAfter: time.Hour})
		ctx, cancel := context.WithCancelCause(context.Background())
		ln, err := w.net.Listen("pub:2")
		require.NoError(t, err)
		serve := make(chan error)
		go func() { serve <- w.pub.Serve(ctx, ln) }()
		var clients []*client
		for range 3 {
			nc, err := w.net.Dial(t.Context(), "pub:2")
			require.NoError(t, err)
			c := &client{t: t, nc: nc, r: codec.NewReader(nc, 0), state: feed.NewState()}
			c.send(&codec.Hello{MinVersion: 1, MaxVersion: 1})
			require.IsType(t, &codec.Welcome{}, c.message())
			clients = append(clients, c)
		}
		cancel(publisher.ErrMoved)
		for _, c := range clients {
			bye := c.ending()
			require.NotNil(t, bye)
			assert.Equal(t, codec.CodeShutdown, bye.Code)
			assert.True(t, bye.Retry)
			assert.Zero(t, bye.RetryAfter, "at once")
			c.nc.Close()
		}
		assert.ErrorIs(t, <-serve, publisher.ErrMoved)
	})(t)
}

func testWelcome(t *testing.T) {
	bubble(func(t *testing.T) {
		now := noon
		w := start(t, publisher.Config{
			Seed: 1, Memory: publisher.MinMemory, Mode: codec.ModeSimulation, Server: "test 1.0", Now: func() int64 { return now },
		})
		for range 12 {
			w.quotes(5000)
		}
		now += 12345
		c := w.join(codec.Hello{})
		l := w.pub.Lineage()
		assert.Equal(t, &codec.Welcome{
			Version: 1, Server: "test 1.0", Mode: codec.ModeSimulation, Lineage: l, Head: 60_004, Tail: w.pub.Stats().Tail,
			Heartbeat: publisher.DefaultHeartbeat, Seed: codec.LineSeed(l[0].ID, nil), Start: 60_004, Now: now,
		}, c.welcome)
		assert.Greater(t, c.welcome.Tail, uint64(1), "memory has forgotten the beginning")
		tail := w.join(codec.Hello{Start: fromBeginning})
		assert.Equal(t, tail.welcome.Tail, tail.welcome.Start)
		tail.until(60_004)
		tail.consecutive(tail.welcome.Tail, 60_004)
	})(t)
}

func testHeartbeatFields(t *testing.T) {
	bubble(func(t *testing.T) {
		fs := &memfs.FS{}
		now := noon
		w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Now: func() int64 { return now }})
		c := w.join(codec.Hello{Start: fromBeginning})
		c.until(4)
		now += 77
		beats := c.observe(publisher.DefaultHeartbeat * 3 / 2)
		require.Len(t, beats, 1)
		assert.Equal(t, &codec.Heartbeat{Covered: 4, Head: 4, Now: now}, beats[0].msg)
		w.quotes(10)
		c.send(&codec.Pulse{Next: 4, Echo: now})
		now += 1000
		beats = c.observe(publisher.DefaultHeartbeat * 3 / 2)
		require.NotEmpty(t, beats)
		m, ok := beats[len(beats)-1].msg.(*codec.Heartbeat)
		require.True(t, ok)
		assert.GreaterOrEqual(t, m.Head, m.Covered)
		assert.Equal(t, uint64(14), m.Covered)
	})(t)
}

func testIdleFilteredLine(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		c := w.join(codec.Hello{Filter: codec.Filter{"QUIET"}, Start: fromBeginning})
		for round := range uint64(5) {
			w.quotes(10)
			seen := c.observe(publisher.DefaultHeartbeat * 9 / 8)
			require.Len(t, seen, 2, "a packet and a heartbeat")
			require.Equal(t, codec.TypePacket, seen[0].typ)
			h, raw, err := codec.ParsePacket(seen[0].raw)
			require.NoError(t, err)
			body := codec.PacketBody(&h, raw)
			n, err := body.Decode(make([]feed.Tick, 1))
			require.NoError(t, err)
			assert.Zero(t, n)
			assert.Equal(t, h.Count, body.NotAsked(), "it skips")
			head := 14 + 10*round
			assert.Equal(t, head, h.First+h.Count, "up to the head")
			beat := seen[1].msg.(*codec.Heartbeat)
			assert.Equal(t, head, beat.Covered)
			assert.Equal(t, head, beat.Head)
			c.send(&codec.Pulse{Next: head})
		}
	})(t)
}

func testSnapshotOfDefinitions(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		for filter, want := range map[string]int{"*": 3, "A*": 2, "NONE": 0} {
			c := w.join(codec.Hello{Filter: codec.Filter{filter}, Start: codec.Start{Kind: codec.StartLive}})
			ticks := 0
			for _, o := range c.observe(time.Second / 2) {
				if o.typ != codec.TypeSnapshotPart {
					continue
				}
				part, err := codec.ParsePart(o.raw, c.seed)
				require.NoError(t, err)
				body := codec.PartBody(&part)
				c.each(&body, func(tick feed.Tick) {
					assert.Equal(t, feed.KindDefinition, tick.Kind)
					ticks++
				})
			}
			assert.Equal(t, want, ticks, filter)
			c.nc.Close()
		}
	})(t)
}

func testSubscribed(t *testing.T) {
	for _, test := range []struct {
		from, to []string
		added    codec.Filter // of the snapshot
		none     bool         // there is no snapshot
		told     []string     // afterwards
	}{
		{from: []string{"A0", "A1"}, to: []string{"A0"}, none: true, told: []string{"A0"}},
		{from: []string{"A0"}, to: []string{"A0", "B0"}, added: codec.Filter{"B0"}, told: []string{"A0", "B0"}},
		{from: []string{"A0", "A1"}, to: []string{"A1", "B*", "C*"}, added: codec.Filter{"B*", "C*"}, told: []string{"A1", "B0"}},
		{from: []string{"A0"}, to: []string{"A0"}, none: true, told: []string{"A0"}},
		{from: []string{"A0"}, to: nil, added: nil, told: []string{"A0", "A1", "B0"}},
		{from: nil, to: []string{"A*"}, none: true, told: []string{"A0", "A1"}},
		{from: nil, to: nil, none: true, told: []string{"A0", "A1", "B0"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, publisher.Config{Seed: 1})
			w.quotes(9)
			c := w.join(codec.Hello{Filter: test.from, Start: fromBeginning})
			c.until(13)
			c.send(&codec.Subscribe{Request: 1, Filter: test.to})
			var begin *codec.SnapshotBegin
			var answer *codec.Subscribed
			for _, o := range c.observe(time.Second / 2) {
				switch m := o.msg.(type) {
				case *codec.Subscribed:
					answer = m
				case *codec.SnapshotBegin:
					require.NotNil(t, answer, "the snapshot comes after the answer")
					begin = m
				}
			}
			require.NotNil(t, answer)
			assert.Equal(t, codec.Subscribed{Request: 1, From: 13, Seed: codec.LineSeed(c.lineage[0].ID, test.to)}, *answer)
			if test.none {
				assert.Nil(t, begin, "%v to %v", test.from, test.to)
			} else if assert.NotNil(t, begin, "%v to %v", test.from, test.to) {
				assert.Equal(t, codec.SnapshotBegin{Seq: 13, Scope: codec.ScopeAdded, Filter: test.added}, *begin)
			}
			full := w.join(codec.Hello{})
			full.snapshot()
			c.seed, c.ticks, c.state = answer.Seed, nil, full.state
			full.nc.Close()
			c.send(&codec.Pulse{Next: 13})
			w.quotes(3)
			c.until(16)
			var told []string
			for _, tick := range c.ticks {
				d, _ := c.state.Definition(tick.Instrument)
				told = append(told, d.Symbol)
			}
			assert.Equal(t, test.told, told)
			c.nc.Close()
		})
	}
}

func testWithheld(t *testing.T) {
	for _, filter := range []codec.Filter{nil, {"A*"}} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, publisher.Config{Seed: 1})
			c := w.join(codec.Hello{Filter: filter, Start: fromBeginning, Slow: codec.SlowLatest, MaxLag: time.Second})
			c.until(3)
			for range 20 {
				w.quotes(5000)
				c.send(&codec.Pulse{Next: c.next})
				time.Sleep(500 * time.Millisecond)
			}
			c.until(100_004)
			if len(c.events)%2 == 1 {
				c.snapshot()
			}
			require.NotEmpty(t, c.events)
			for i := 0; i+1 < len(c.events); i += 2 {
				var from, to, seq uint64
				_, err := fmt.Sscanf(c.events[i], "withheld [%d, %d)", &from, &to)
				require.NoError(t, err, c.events[i])
				_, err = fmt.Sscanf(c.events[i+1], "snapshot %d scope 0", &seq)
				require.NoError(t, err, c.events[i+1])
				assert.Equal(t, to, seq)
			}
			late := w.join(codec.Hello{Filter: filter})
			late.snapshot()
			assert.Empty(t, late.state.Diff(c.state), "volumes stay right")
			c.nc.Close()
		})
	}
}

func testSeeds(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		seeds := map[uint32]string{}
		for _, filter := range []codec.Filter{nil, {"A0"}, {"A1"}, {"A0", "A1"}} {
			c := w.join(codec.Hello{Filter: filter, Start: fromBeginning})
			if filter == nil {
				var id [8]byte
				binary.BigEndian.PutUint64(id[:], uint64(c.lineage[0].ID))
				assert.Equal(t, crc32.Checksum(id[:], crc32.MakeTable(crc32.Castagnoli)), c.welcome.Seed)
			}
			assert.Empty(t, seeds[c.welcome.Seed], "%v has the seed of another line", filter)
			seeds[c.welcome.Seed] = fmt.Sprint(filter)
			c.until(12) // each packet is compared with the seed
			c.nc.Close()
		}
	})(t)
}

func testOrderOfPatterns(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(9)
		var welcomes []*codec.Welcome
		for _, filter := range [][]string{{"A0", "B0"}, {"B0", "A0"}, {"B0", "A0", "B0"}} {
			c := w.raw(hello(helloFilter, filter, helloStart, 2))
			c.welcome = c.message().(*codec.Welcome)
			c.at, c.next, c.seed = c.welcome.Start, c.welcome.Start, c.welcome.Seed
			welcomes = append(welcomes, c.welcome)
			c.until(13)
			assert.Equal(t, []uint64{1, 3, 4, 6, 7, 9, 10, 12}, c.seqs(), "%v", filter)
			c.nc.Close()
		}
		assert.Equal(t, welcomes[0].Seed, welcomes[1].Seed)
		assert.Equal(t, welcomes[0].Seed, welcomes[2].Seed)
	})(t)
}

func testGreatestWelcome(t *testing.T) {
	bubble(func(t *testing.T) {
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}, Server: strings.Repeat("ä", 5000)}
		w := start(t, cfg)
		for range feed.MaxLineage + 1 {
			w.quotes(1)
			w.stop()
			w.open(cfg)
		}
		require.Len(t, w.pub.Lineage(), feed.MaxLineage+2)
		c := w.dial(codec.Hello{})
		c.r.SetLimit(4096)
		m := c.message()
		require.IsType(t, &codec.Welcome{}, m)
		assert.Len(t, m.(*codec.Welcome).Lineage, feed.MaxLineage)
		assert.Len(t, m.(*codec.Welcome).Server, 1024)
	})(t)
}

func testVersions(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		for _, v := range [][2]uint64{{1, 1}, {1, 2}, {1, 1 << 63}} {
			c := w.raw(hello(helloMin, v[0], helloMax, v[1]))
			m := c.message()
			require.IsType(t, &codec.Welcome{}, m)
			assert.Equal(t, uint64(1), m.(*codec.Welcome).Version)
			c.nc.Close()
		}
		for _, v := range [][2]uint64{{2, 2}, {2, 1 << 63}} {
			c := w.raw(hello(helloMin, v[0], helloMax, v[1]))
			m := c.message()
			require.IsType(t, &codec.Refusal{}, m)
			assert.Equal(t, codec.CodeVersion, m.(*codec.Refusal).Code)
			assert.False(t, m.(*codec.Refusal).Retry)
			c.nc.Close()
		}
	})(t)
}

func testTokenIsNotLogged(t *testing.T) {
	bubble(func(t *testing.T) {
		var log bytes.Buffer
		w := start(t, publisher.Config{Seed: 1, Token: "the right one", Logger: zerolog.New(zerolog.SyncWriter(&log)).Level(zerolog.TraceLevel)})
		for _, token := range []string{"the right one", "the wrong one", "control\x01one"} {
			c := w.raw(hello(helloToken, token))
			_ = c.message()
			c.nc.Close()
			time.Sleep(time.Second)
		}
		w.stop()
		require.NotEmpty(t, log.String())
		for _, said := range []string{"right", "wrong", "control"} {
			assert.NotContains(t, log.String(), said+" one")
			assert.NotContains(t, log.String(), said+"\\u0001one")
		}
	})(t)
}
