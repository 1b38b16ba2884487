package subscriber

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
)

// Scripts of the line: each line is a message of the publisher, or "connect" or "lost"; after the arrow are the application's
// batches. Sessions are A, and its children B and C; "welcome START HEAD REASON LINEAGE [tail:SEQ]" and "session NEXT
// LINEAGE" name them as A, AB45 (B from 45 on), and so on.
func TestLineFollowsItsScripts(t *testing.T) {
	for _, test := range []struct {
		name, script, ledger string
	}{
		{"a gap is known from the next packet", `
connect                      -> connecting
welcome 41 41 asked A        -> snapshot
snapshot 41 all              -> snapshot as of 41; live
packet 41 1                  -> ticks 41 to 41
packet 43 1                  -> protocol: packet begins at 43, want 42; missing [42, 43)
lost                         -> disconnected
connect 42 state             -> connecting
welcome 42 44 resumed A      -> replaying
packet 42 2                  -> ticks 42 to 43; live, gap by replay, 2 replayed`,
			"A: delivered [41, 44) not asked [1, 41)"},

		{"a gap is known from a heartbeat", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 2            -> ticks 1 to 3
heartbeat 5 5                -> protocol: heartbeat covers up to at 5, want 4; missing [4, 5)`,
			"A: delivered [1, 4)"},

		{"the line begins at the packet that holds the position, repeats are dropped", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 2            -> ticks 1 to 3
lost                         -> disconnected
connect 4 state              -> connecting
welcome 2 8 resumed A        -> replaying
packet 2 1                   ->
packet 3 5                   -> ticks 4 to 7; live, cut by replay, 4 replayed, 2 repeated`,
			"A: delivered [1, 8)"},

		{"the whole state where definitions are due", `
ask live
connect                      -> connecting
welcome 41 41 asked A        -> snapshot
snapshot 41 all              -> protocol: snapshot of scope all where definitions are due
snapshot 41 definitions      -> snapshot as of 41; live`,
			"A: not asked [1, 41)"},

		{"a seq asked for inside a packet", `
ask 43
connect                      -> connecting
welcome 41 45 asked A        -> snapshot
snapshot 43 all              -> snapshot as of 43; replaying
packet 41 4                  -> ticks 43 to 44; live`,
			"A: delivered [43, 45) not asked [1, 43)"},

		{"a seq asked for that the publisher no longer has", `
ask 20
connect                      -> connecting
welcome 41 45 asked A        -> snapshot, lost [20, 41)
snapshot 41 all              -> snapshot as of 41; replaying
packet 41 4                  -> ticks 41 to 44; live`,
			"A: delivered [41, 45) not asked [1, 20) lost [20, 41)"},

		{"the beginning asked for where memory dropped it", `
ask beginning
connect                      -> connecting
welcome 41 45 asked A tail:41 -> snapshot, lost [1, 41)
snapshot 41 all              -> snapshot as of 41; replaying
packet 41 4                  -> ticks 41 to 44; live`,
			"A: delivered [41, 45) lost [1, 41)"},

		{"the beginning asked for where memory dropped it, across a restart", `
ask beginning
connect                      -> connecting
welcome 41 45 asked AB30 tail:41 -> snapshot, lost [1, 30), lost [30, 41)
snapshot 41 all of B         -> snapshot as of 41; replaying
packet 41 4 of B             -> ticks 41 to 44; live`,
			"A: lost [1, 30) B: delivered [41, 45) lost [30, 41)"},

		{"the beginning asked for where retention removed it", `
ask beginning
connect                      -> connecting
welcome 1 45 asked A tail:41 -> replaying
packet 1 gone:30             -> snapshot, lost [1, 31)
snapshot 31 all              -> snapshot as of 31; replaying
packet 31 gone:10            -> snapshot, lost [31, 41)
snapshot 41 all              -> snapshot as of 41; replaying
packet 41 2                  -> ticks 41 to 42
packet 43 gone:2             -> snapshot, lost [43, 45)
snapshot 45 all              -> snapshot as of 45; live`,
			"A: delivered [41, 43) lost [1, 41) [43, 45) expired [1, 41)"},

		{"the beginning asked for where the user may not see it", `
ask beginning
connect                      -> connecting
welcome 1 45 asked A tail:41 -> replaying
packet 1 denied:40           -> snapshot, lost [1, 41)
snapshot 41 all              -> snapshot as of 41; replaying
packet 41 4                  -> ticks 41 to 44; live`,
			"A: delivered [41, 45) lost [1, 41) expired [1, 41)"},

		{"the beginning asked for where memory drops more before the first packet", `
ask beginning
connect                      -> connecting
welcome 41 60 asked A tail:41 -> snapshot, lost [1, 41)
packet 41 gone:9             -> snapshot, lost [41, 50)
snapshot 50 all              -> snapshot as of 50; replaying
packet 50 10                 -> ticks 50 to 59; live`,
			"A: delivered [50, 60) lost [1, 50)"},

		{"the beginning asked for where retention removed it, with a cut in between", `
ask beginning
connect                      -> connecting
welcome 1 45 asked A tail:41 -> replaying
lost                         -> disconnected
connect 1 state              -> connecting
welcome 1 45 resumed A tail:41 -> replaying
packet 1 gone:40             -> snapshot, lost [1, 41)
snapshot 41 all              -> snapshot as of 41; replaying
packet 41 4                  -> ticks 41 to 44; live, cut by snapshot, 4 replayed, lost [1, 41)`,
			"A: delivered [41, 45) lost [1, 41) expired [1, 41)"},

		{"the beginning asked for where a part of it is damaged", `
ask beginning
connect                      -> connecting
welcome 1 45 asked A         -> replaying
packet 1 damaged:40          -> snapshot, lost [1, 41)
snapshot 41 all              -> snapshot as of 41; replaying
packet 41 4                  -> ticks 41 to 44; live`,
			"A: delivered [41, 45) lost [1, 41)"},

		{"a seq asked for that retention removed", `
ask 20
connect                      -> connecting
welcome 20 45 asked A tail:41 -> snapshot
packet 20 gone:21            -> snapshot, lost [20, 41)
snapshot 41 all              -> snapshot as of 41; replaying
packet 41 4                  -> ticks 41 to 44; live`,
			"A: delivered [41, 45) not asked [1, 20) lost [20, 41)"},

		{"a time asked for that the publisher has", `
ask time 5
connect                      -> connecting
welcome 42 45 asked A tail:41 -> snapshot
snapshot 42 all              -> snapshot as of 42; replaying
packet 42 3                  -> ticks 42 to 44; live`,
			"A: delivered [42, 45) not asked [1, 42)"},

		{"a time asked for that may be older than memory", `
ask time 5
connect                      -> connecting
welcome 41 45 asked A tail:41 -> snapshot, lost [1, 41)
snapshot 41 all              -> snapshot as of 41; replaying
packet 41 4                  -> ticks 41 to 44; live`,
			"A: delivered [41, 45) lost [1, 41)"},

		{"on a filtered line skips are not asked for", `
filter S0
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define skip:5 1     -> ticks 1 to 7
packet 8 skip:100            ->
heartbeat 108 108            ->`,
			"A: filtered [1, 108) 2 of 107"},

		{"retention overtakes the cursor", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define              -> ticks 1 to 1
packet 2 1                   -> ticks 2 to 2
packet 3 gone:40             -> snapshot, lost [3, 43)
snapshot 43 all              -> snapshot as of 43; live
packet 43 1                  -> ticks 43 to 43`,
			"A: delivered [1, 3) [43, 44) lost [3, 43)"},

		{"retention overtook the position while away", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define              -> ticks 1 to 1
lost                         -> disconnected
connect 2 state              -> connecting
welcome 2 50 resumed A       -> replaying
packet 2 gone:40             -> snapshot, lost [2, 42)
snapshot 42 all              -> snapshot as of 42; replaying
packet 42 8                  -> ticks 42 to 49; live, cut by snapshot, 8 replayed, lost [2, 42)`,
			"A: delivered [1, 2) [42, 50) lost [2, 42)"},

		{"the slow-consumer policy withholds", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define              -> ticks 1 to 1
packet 2 withheld:40         -> snapshot, withheld [2, 42)
snapshot 42 all              -> snapshot as of 42; live
packet 42 1                  -> ticks 42 to 42`,
			"A: delivered [1, 2) [42, 43) withheld [2, 42)"},

		{"a child at the head just continues", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 2            -> ticks 1 to 3
session 4 AB4                ->
packet 4 2 of B              -> ticks 4 to 5`,
			"A: delivered [1, 4) B: delivered [4, 6)"},

		{"history is read across a restart", `
connect                      -> connecting
welcome 1 6 asked AB4        -> replaying
packet 1 define 2            -> ticks 1 to 3
session 4 AB4                ->
packet 4 2 of B              -> ticks 4 to 5; live`,
			"A: delivered [1, 4) B: delivered [4, 6)"},

		{"a fork below the position while away disowns the numbers after it", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 9            -> ticks 1 to 10
lost                         -> disconnected
connect 11 state             -> connecting
welcome 6 8 rewound AB6      -> snapshot, disowned [6, 11)
snapshot 6 all of B          -> snapshot as of 6; replaying
packet 6 2 of B              -> ticks 6 to 7; live, cut by rewound, 2 replayed, disowned [6, 11)`,
			"A: delivered [1, 6) disowned [6, 11) B: delivered [6, 8)"},

		{"a lost number that comes before the position is no duplicate, and stays lost", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 2            -> ticks 1 to 3
packet 4 gone:2              -> snapshot, lost [4, 6)
snapshot 6 all               -> snapshot as of 6; live
packet 6 1                   -> ticks 6 to 6
lost                         -> disconnected
connect 7 state              -> connecting
welcome 3 8 resumed A        -> replaying
packet 3 5                   -> ticks 7 to 7; live, cut by replay, 1 replayed, 2 repeated`,
			"A: delivered [1, 4) [6, 8) lost [4, 6)"},

		{"a number that was not asked for and comes before the position is no duplicate", `
ask 43
connect                      -> connecting
welcome 41 45 asked A        -> snapshot
snapshot 43 all              -> snapshot as of 43; replaying
lost                         -> disconnected
connect 43 state             -> connecting
welcome 41 45 resumed A      -> replaying
packet 41 4                  -> ticks 43 to 44; live, cut by replay, 2 replayed`,
			"A: delivered [43, 45) not asked [1, 43)"},

		{"delivered ticks of sessions that come back only update the state", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 2            -> ticks 1 to 3
lost                         -> disconnected
connect 4 state              -> connecting
welcome 1 1 snapshot B       -> live, cut by new session
packet 1 define 1 of B       -> ticks 1 to 2
lost                         -> disconnected
connect 3 state              -> connecting
welcome 1 6 snapshot A       -> replaying
packet 1 define 2            ->
packet 4 2                   -> ticks 4 to 5; live, cut by new session, 2 replayed, 3 repeated`,
			"A: delivered [1, 6) B: delivered [1, 3)"},

		{"lost numbers of sessions that come back are delivered", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 2            -> ticks 1 to 3
heartbeat 4 6                ->
lost                         -> disconnected
connect 4 state              -> connecting
welcome 1 1 snapshot B       -> live, lost [4, 6); live, cut by new session, lost [4, 6)
packet 1 define 1 of B       -> ticks 1 to 2
lost                         -> disconnected
connect 3 state              -> connecting
welcome 1 6 snapshot A       -> replaying
packet 1 define 2            ->
packet 4 2                   -> ticks 4 to 5; live, cut by new session, 2 replayed, 3 repeated`,
			"A: delivered [1, 6) B: delivered [1, 3)"},

		{"lost numbers of sessions that come back are skipped if they are before delivered ones", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 2            -> ticks 1 to 3
packet 4 gone:2              -> snapshot, lost [4, 6)
snapshot 6 all               -> snapshot as of 6; live
packet 6 2                   -> ticks 6 to 7
lost                         -> disconnected
connect 8 state              -> connecting
welcome 1 1 snapshot B       -> live, cut by new session
packet 1 define 1 of B       -> ticks 1 to 2
lost                         -> disconnected
connect 3 state              -> connecting
welcome 1 10 snapshot A      -> replaying
packet 1 define 2            ->
packet 4 gone:2              -> snapshot
snapshot 6 all               -> snapshot as of 6; replaying
packet 6 2                   ->
packet 8 2                   -> ticks 8 to 9; live, cut by snapshot, 2 replayed, 5 repeated`,
			"A: delivered [1, 4) [6, 10) lost [4, 6) B: delivered [1, 3)"},

		{"lost numbers of sessions that come back are skipped if they are before delivered ones of a child", `
connect                      -> connecting
welcome 1 6 asked A          -> replaying
packet 1 define 2            -> ticks 1 to 3
packet 4 gone:2              -> snapshot, lost [4, 6)
snapshot 6 all               -> snapshot as of 6; live
session 6 AC6                ->
packet 6 2 of C              -> ticks 6 to 7
lost                         -> disconnected
connect 8 state              -> connecting
welcome 1 1 snapshot B       -> live, cut by new session
packet 1 define 1 of B       -> ticks 1 to 2
lost                         -> disconnected
connect 3 state              -> connecting
welcome 1 9 snapshot AC6     -> replaying
packet 1 define 4            ->
session 6 AC6                ->
packet 6 3 of C              -> ticks 8 to 8; live, cut by new session, 1 replayed, 5 repeated`,
			"A: delivered [1, 4) lost [4, 6) C: delivered [6, 9) B: delivered [1, 3)"},

		{"delivered numbers of sessions that come back are not withheld", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 9            -> ticks 1 to 10
lost                         -> disconnected
connect 11 state             -> connecting
welcome 1 1 snapshot B       -> live, cut by new session
packet 1 define 1 of B       -> ticks 1 to 2
lost                         -> disconnected
connect 3 state              -> connecting
welcome 1 15 snapshot A      -> replaying
packet 1 define 1            ->
packet 3 withheld:10         -> snapshot, withheld [11, 13)
snapshot 13 all              -> snapshot as of 13; replaying
packet 13 2                  -> ticks 13 to 14; live, cut by new session, 2 replayed, 2 repeated`,
			"A: delivered [1, 11) [13, 15) withheld [11, 13) B: delivered [1, 3)"},

		{"lost numbers of sessions that come back are reported if they are withheld now", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 1            -> ticks 1 to 2
heartbeat 3 9                ->
lost                         -> disconnected
connect 3 state              -> connecting
welcome 1 1 snapshot B       -> live, lost [3, 9); live, cut by new session, lost [3, 9)
packet 1 define 1 of B       -> ticks 1 to 2
lost                         -> disconnected
connect 3 state              -> connecting
welcome 1 13 snapshot A      -> replaying
packet 1 define 1            ->
packet 3 withheld:10         -> snapshot, withheld [3, 13)
snapshot 13 all              -> snapshot as of 13; live, cut by new session, 2 repeated`,
			"A: delivered [1, 3) withheld [3, 13) B: delivered [1, 3)"},

		{"numbers of sessions that come back are reported once if they are withheld again", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 1            -> ticks 1 to 2
packet 3 gone:2              -> snapshot, lost [3, 5)
snapshot 5 all               -> snapshot as of 5; live
packet 5 withheld:4          -> snapshot, withheld [5, 9)
snapshot 9 all               -> snapshot as of 9; live
lost                         -> disconnected
connect 9 state              -> connecting
welcome 1 1 snapshot B       -> live, cut by new session
packet 1 define 1 of B       -> ticks 1 to 2
lost                         -> disconnected
connect 3 state              -> connecting
welcome 1 13 snapshot A      -> replaying
packet 1 define 1            ->
packet 3 withheld:10         -> snapshot, withheld [3, 5), withheld [9, 13)
snapshot 13 all              -> snapshot as of 13; live, cut by new session, 2 repeated`,
			"A: delivered [1, 3) withheld [3, 13) B: delivered [1, 3)"},

		{"a recovery that was rewound, cut and resumed is reported as rewound", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 9            -> ticks 1 to 10
lost                         -> disconnected
connect 11 state             -> connecting
welcome 6 8 rewound AB6      -> snapshot, disowned [6, 11)
snapshot 6 all of B          -> snapshot as of 6; replaying
lost                         -> disconnected
connect 6 state              -> connecting
welcome 6 8 resumed AB6      -> replaying
packet 6 2 of B              -> ticks 6 to 7; live, cut by rewound, 2 replayed, 2 attempts, disowned [6, 11)`,
			"A: delivered [1, 6) disowned [6, 11) B: delivered [6, 8)"},

		{"a fork in the line disowns the numbers after it", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 9            -> ticks 1 to 10
session 6 AB6                -> snapshot, disowned [6, 11)
snapshot 6 all of B          -> snapshot as of 6; live
packet 6 2 of B              -> ticks 6 to 7`,
			"A: delivered [1, 6) disowned [6, 11) B: delivered [6, 8)"},

		{"no common session: earlier numbers of the new one are lost to a client that resumed", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 9            -> ticks 1 to 10
lost                         -> disconnected
connect 11 state             -> connecting
welcome 5 6 snapshot C       -> snapshot, lost [1, 5)
snapshot 5 all of C          -> snapshot as of 5; replaying
packet 5 1 of C              -> ticks 5 to 5; live, cut by new session, 1 replayed, lost [1, 5)`,
			"A: delivered [1, 11) C: delivered [5, 6) lost [1, 5)"},

		{"no common session: known numbers of the old one are lost too", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 2            -> ticks 1 to 3
heartbeat 4 9                ->
lost                         -> disconnected
connect 4 state              -> connecting
lost                         -> disconnected
connect 4 state              -> connecting
welcome 1 3 snapshot C       -> replaying, lost [4, 9)
packet 1 define 1 of C       -> ticks 1 to 2; live, cut by new session, 2 replayed, 2 attempts, lost [4, 9)`,
			"A: delivered [1, 4) lost [4, 9) C: delivered [1, 3)"},

		{"a replay continues in a sibling before this subscriber has the session", `
connect                      -> connecting
welcome 1 20 asked A         -> replaying
packet 1 define 9            -> ticks 1 to 10
session 100 C                -> snapshot, lost [11, 20)
snapshot 100 all of C        -> snapshot as of 100; live
packet 100 1 of C            -> ticks 100 to 100`,
			"A: delivered [1, 11) lost [11, 20) C: delivered [100, 101)"},

		{"a replay continues in a sibling: skipped numbers are in no account", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 9            -> ticks 1 to 10
session 100 C                -> snapshot
snapshot 100 all of C        -> snapshot as of 100; live
packet 100 1 of C            -> ticks 100 to 100`,
			"A: delivered [1, 11) C: delivered [100, 101)"},

		{"a snapshot without its end changes nothing", `
connect                      -> connecting
welcome 41 41 asked A        -> snapshot
begin 41                     ->
lost                         -> disconnected
connect 41                   -> connecting
welcome 41 41 resumed A      -> snapshot
snapshot 41 all              -> snapshot as of 41; live, cut by replay`,
			"A: not asked [1, 41)"},

		{"a recovery that is cut again is one recovery", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define              -> ticks 1 to 1
lost                         -> disconnected
connect 2 state              -> connecting
welcome 2 9 resumed A        -> replaying
packet 2 2                   -> ticks 2 to 3
lost                         -> disconnected
connect 4 state              -> connecting
welcome 4 9 resumed A        -> replaying
packet 4 5                   -> ticks 4 to 8; live, cut by replay, 7 replayed, 2 attempts`,
			"A: delivered [1, 9)"},

		{"the session ends, and continues in a child", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define              -> ticks 1 to 1
end 2                        -> ended, end at 2
heartbeat 2 2                ->
session 2 AB2                -> live
packet 2 1 of B              -> ticks 2 to 2`,
			"A: delivered [1, 2) B: delivered [2, 3)"},

		{"nothing in a packet of another session is used", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define of B         -> protocol: packet [1, 2): wrong checksum for this line`,
			""},

		{"a tick whose definition was lost is delivered", `
connect                      -> connecting
welcome 1 1 asked A          -> live
packet 1 define 2 undefined 1 -> ticks 1 to 5`,
			"A: delivered [1, 6)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &lineScript{line: newLine(codec.Position{}, 256), cfg: Config{}}
			var got strings.Builder
			for text := range strings.Lines(strings.TrimSpace(test.script)) {
				command, _, arrow := strings.Cut(strings.TrimRight(text, "\n"), "->")
				out := s.do(strings.Fields(command))
				if arrow {
					got.WriteString(strings.TrimRight(command+"-> "+out, " ") + "\n")
				} else {
					got.WriteString(text)
				}
			}
			assert.Equal(t, strings.TrimSpace(test.script), strings.TrimSpace(got.String()))
			assert.Equal(t, test.ledger, ledgerText(&s.line.ledger))
			require.NoError(t, s.line.ledger.Check())
		})
	}
}
