package publisher_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
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
	{"A connection", "The server answers welcome, or refusal and closes.", "TestRefusalsHaveCodeAndReason TestRefusalCanBeRead", nil},
	{"A connection", "if needed a snapshot, then packets, each covering a range of numbers, for as long as the session lasts.", "TestStartsAreWhereAskedFor", nil},
	{"A connection", "It sends a heartbeat whenever it has sent nothing else for one interval (heartbeat of the welcome).", "", testHeartbeats},
	{"A connection", "A peer that gives no sign of life for three intervals is dead, whatever TCP says.", "", testSilence},
	{"A connection", "Either side ends the connection with goodbye and closes.", "TestEndAndGoodbye TestGoodbyeCanBeRead", nil},
	{"A connection", "A side that receives what this text does not allow sends goodbye (code protocol) and closes", "TestHostileClient", nil},
	{"A connection", "snapshot part, heartbeat; then snapshot end; or goodbye", "", testSnapshotOrder},
	{"A connection", "heartbeat, session, subscribed, snapshot begin after subscribed, goodbye", "TestSubscribeAfterTheEnd", nil},

	{"The joining rule", "each packet's first MUST equal at; then at becomes first + count;", "TestFilteredTogether", nil},
	{"The joining rule", "each heartbeat's covered, each subscribed's from and each end's final MUST equal at.", "TestFilterSkipsTheOthers TestEndAndGoodbye", nil},
	{"The joining rule", "A line starts at the beginning of the packet that holds the position", "", testLineStartsAtItsPacket},
	{"The joining rule", "A client accounts for every number that its lines cover, and for those below the first one, in exactly one way", "TestFilteredTogether", nil},

	{"Where a line starts", "start; of start 3 the number asked for, if that is higher", "TestStartsAreWhereAskedFor", nil},
	{"Where a line starts", "the fork of both lineages", "TestResumeAtPositionOrFork", nil},
	{"Where a line starts", "or that is above the position", "", testLineStartsAtItsPacket},
	{"Where a line starts", "The fork is the least of - the client's next; - the first of the session that follows it in the client's lineage; - the first of the session that follows it in the publisher's.", "", testFork},
	{"Where a line starts", "Before its first packet a line is given a snapshot whose seq is the position: of scope 1 if the reason is 0 and the start 1, else of scope 0.", "TestStartsAreWhereAskedFor", nil},
	{"Where a line starts", "No snapshot is sent if - the position is 1, where the state is empty; - the line is resumed and the hello's has state was true;", "TestStartsAreWhereAskedFor TestResumeAtPositionOrFork", nil},
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
	{"Sessions change", "a session of its own that names its origin and keeps the recorded numbers and event times;", "", testReplayNamesItsOrigin},
	{"Sessions change", "it says goodbye (code shutdown, retry at once)", "", testMoved},
	{"Sessions change", "is given a snapshot as of the sibling's first number (reason 3), and everything from there on.", "TestSiblingOfAReplayIsFollowedWithoutALoss", nil},

	{"1 hello (client)", "the line ends soon after it has covered the numbers below", "TestUntilEndsALineWithGoodbye TestGapOnASecondConnection", nil},

	{"2 welcome", "of the hello's, those that the server grants", "TestFeaturesThatAreKnownAreGranted", nil},
	{"2 welcome", "oldest number that the publisher has; at most head", "", testWelcome},
	{"2 welcome", "the interval of both sides, 1 ms to 24 h", "", testHeartbeats},
	{"2 welcome", "first number that the line covers; at most the position", "", testLineStartsAtItsPacket},
	{"2 welcome", "the publisher's clock", "", testWelcome},

	{"3 refusal, 4 goodbye (either side)", "the publisher stops; retry after differs between clients, to spread them", "TestRetryAfterIsSpread", nil},
	{"3 refusal, 4 goodbye (either side)", "too many connections or handshakes", "TestMaxConnections", nil},
	{"3 refusal, 4 goodbye (either side)", "no common protocol version", "TestHostileClient TestRefusalsHaveCodeAndReason", nil},
	{"3 refusal, 4 goodbye (either side)", "credentials missing or wrong", "TestHostileClient TestRefusalsHaveCodeAndReason", nil},
	{"3 refusal, 4 goodbye (either side)", "the peer broke this protocol", "TestHostileClient", nil},
	{"3 refusal, 4 goodbye (either side)", "a field of a hello or subscribe is out of bounds", "TestHostileClient", nil},
	{"3 refusal, 4 goodbye (either side)", "the slow-consumer policy", "TestPolicyWhileAWriteWaits", nil},
	{"3 refusal, 4 goodbye (either side)", "nothing heard for three intervals", "TestHostileClient", nil},

	{"5 packet", "A writer MUST use exactly these widths", "", testLayout},

	{"6 heartbeat", "next number of the session: more than covered while the line lags", "", testHeartbeatFields},
	{"6 heartbeat", "Before the heartbeat of a filtered line that has nothing to send, a packet skips up to the head", "", testIdleFilteredLine},

	{"7 snapshot begin, 8 snapshot part, 9 snapshot end", "The state as of seq: every tick below seq is in it, none from seq on.", "TestStartsAreWhereAskedFor TestJoinsAreSharedFor100ms", nil},
	{"7 snapshot begin, 8 snapshot part, 9 snapshot end", "Begin, parts and end name the same seq, which MUST be the position; parts are numbered from 0 and joined without a hole; the end gives their number.", "", testSnapshotOrder},
	{"7 snapshot begin, 8 snapshot part, 9 snapshot end", "the same, but only definitions are sent, and the rest of the state is unknown.", "", testSnapshotOfDefinitions},

	{"11 subscribe (client), 12 subscribed", "The server answers all requests in order", "TestSubscribesAreAnsweredInOrder TestSubscribeWaitsForThePosition", nil},
	{"11 subscribe (client), 12 subscribed", "each with subscribed at a place of its choice", "", testSubscribeBeforeTheWelcome},
	{"11 subscribe (client), 12 subscribed", "packets before it are of the old filter and seed, packets after it of the new ones.", "TestFilterSkipsTheOthers", nil},
	{"11 subscribe (client), 12 subscribed", "Then a snapshot of scope 2 as of from, whose filter is the patterns that are new, gives the instruments that were added; there is none if no pattern is new, as when the filter before was empty.", "", testSubscribed},
	{"11 subscribe (client), 12 subscribed", "Ticks of instruments that no longer match are not sent", "", testSubscribed},
	{"11 subscribe (client), 12 subscribed", "that of the subscribe", "TestSixteenFilterChangesWait", nil},

	{"14 end", "no number from here on will ever be given", "TestEndAndGoodbye", nil},
	{"14 end", "It comes after the last packet. The connection lives on: heartbeats continue", "", testAfterTheEnd},

	{"Body entries", "together they cover exactly count numbers.", "TestFilteredTogether", nil},
	{"Body entries", "numbers withheld by the subscription's own slow-consumer policy. The only entry of its packet; a snapshot of scope 0 as of its end follows", "", testWithheld},
	{"Body entries", "The only entry of its packet; a snapshot of scope 0 as of its end follows", "TestGoneAcrossSessions TestMemoryOnlyPublisherForgets", nil},
	{"Body entries", "the first is 0, each new one is the next, and none is used before it is defined.", "TestStartsAreWhereAskedFor TestInstrumentIDsAreDense", nil},

	{"Checksums", "The seed of a full line is the CRC-32C of the session id as eight bytes, most significant first", "", testSeeds},
	{"Checksums", "The seed of a filtered line is given by welcome, subscribed and session. A packet of another session or line never passes.", "", testSeeds},

	{"Filters", "Order and repetition do not matter.", "", testOrderOfPatterns},
	{"Filters", "A filtered line carries ticks of the instruments wanted, definitions included; the numbers between are skipped.", "TestFilterSkipsTheOthers", nil},

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
		if words := strings.Fields(line); len(words) > 0 {
			sections[heading] += strings.Join(words, " ") + " "
		}
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

func bubble(f func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

var fromBeginning = codec.Start{Kind: codec.StartBeginning}
