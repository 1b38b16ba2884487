package conform

import (
	"strings"
	"time"

	"tickfeed/codec"
	"tickfeed/publisher"
)

// driveCases returns the cases that take time. Their scripts are in the language of package lab: tickfeed lab --list.
func driveCases() []*Case {
	beginning := codec.Start{Kind: codec.StartBeginning}
	list := []struct {
		id, rule, chapter, section string
		d                          Drive
	}{
		{"recover-fin", "a cut in order: the client resumes at its position", "recovery", "A connection", Drive{Script: "at seq 500: cut fin", Causes: []string{"cut"}, Logins: [2]int{2, 2}, Within: time.Second}},
		{"recover-reset", "a reset: the client resumes at its position", "recovery", "A connection", Drive{Script: "at seq 500: cut rst", Logins: [2]int{2, 3}, Within: time.Second}},
		{"recover-inside", "a cut in the middle of a packet: half a message is dropped", "recovery", "A connection", Drive{Script: "at seq 500: cut inside", Causes: []string{"cut"}, Logins: [2]int{2, 2}, Within: time.Second}},
		{"recover-often", "a cut every 150 numbers: the waits begin anew each time, because each connection makes progress", "recovery", "A connection", Drive{Script: "every seq 150: cut fin", Logins: [2]int{9, 12}, Within: time.Second}},
		{"recover-first", "a cut before the first tick of all", "recovery", "A connection", Drive{Script: "at seq 1: cut fin", Logins: [2]int{2, 3}}},
		{"recover-dropped-packet", "a packet is missing: what follows does not join", "recovery", "The joining rule", Drive{Script: "at seq 500: drop packet", Causes: []string{"gap"}, Logins: [2]int{2, 2}, Within: time.Second}},
		{"recover-dropped-tick", "a tick is missing: what follows does not join", "recovery", "The joining rule", Drive{Script: "at seq 500: drop tick", Causes: []string{"gap"}, Logins: [2]int{2, 2}, Within: time.Second}},
		{"recover-repeated", "a packet comes twice", "recovery", "The joining rule", Drive{Script: "at seq 500: repeat", Causes: []string{"protocol"}, Logins: [2]int{2, 2}, Within: time.Second}},
		{"recover-swapped", "two packets change places", "recovery", "The joining rule", Drive{Script: "at seq 500: swap", Causes: []string{"gap"}, Logins: [2]int{2, 2}, Within: time.Second}},
		{"recover-flipped", "a bit of a packet is wrong: the checksum shows it, and nothing of the packet counts", "recovery", "Checksums", Drive{Script: "at seq 500: flip", Causes: []string{"protocol"}, Logins: [2]int{2, 2}, Within: time.Second}},
		{"recover-forged", "a packet is moved by one number, and its checksum is right: only the sequence shows it", "recovery", "The joining rule", Drive{Script: "at seq 500: forge", Causes: []string{"gap"}, Logins: [2]int{2, 2}, Within: time.Second}},
		{"recover-garbage", "bytes that are no message", "recovery", "What a reader refuses, and what it accepts", Drive{Script: "at seq 500: garbage", Causes: []string{"protocol"}, Logins: [2]int{2, 2}, Within: time.Second}},
		{"recover-many", "cuts, drops and flips at random, at the same ticks in every exam", "recovery", "A connection", Drive{Script: "seed 3\nwith 0.5%: cut fin\nwith 0.3%: drop tick\nwith 0.3%: flip", Logins: [2]int{8, 40}}},
		{"recover-snapshot-cut", "a cut inside the first snapshot: nothing of it counts", "recovery", "7 snapshot begin, 8 snapshot part, 9 snapshot end", Drive{Script: "at snapshot 1: cut snapshot", Causes: []string{"cut"}}},
		{"recover-snapshot-endless", "a snapshot without its end", "recovery", "7 snapshot begin, 8 snapshot part, 9 snapshot end", Drive{Script: "at snapshot 1: endless snapshot", Causes: []string{"protocol"}}},
		{"recover-snapshot-moved", "a snapshot as of another number than the position", "recovery", "7 snapshot begin, 8 snapshot part, 9 snapshot end", Drive{Script: "at snapshot 1: move snapshot 1", Causes: []string{"protocol"}}},
		{"recover-filtered", "a filtered line is cut: skipped numbers are not asked for again", "recovery", "Filters", Drive{Script: "every seq 300: cut fin", Filter: codec.Filter{"A*"}, Logins: [2]int{5, 8}}},
		{"recover-killed", "the client is killed and started again with its state file: no tick is missing", "recovery", "A connection", Drive{KillAfter: 400}},
		{"recover-killed-cut", "the client is killed between cuts and started again with its state file", "recovery", "A connection", Drive{Script: "every seq 200: cut fin", KillAfter: 500}},

		{"alive-heartbeats", "nothing but heartbeats for two seconds: the publisher lives", "liveness", "A connection", Drive{Quiet: true, Ticks: 300, Causes: []string{}, Logins: [2]int{1, 1}}},
		{"alive-stall", "a stall of two intervals: the publisher is not dead yet", "liveness", "A connection", Drive{Script: "at seq 500: stall 80ms", Logins: [2]int{1, 2}}},
		{"alive-data-only", "data without heartbeats: each packet is a sign of life", "liveness", "A connection", Drive{Script: "at seq 5: mute heartbeats 1m", Ticks: 600, Causes: []string{}, Logins: [2]int{1, 1}}},
		{"alive-heartbeats-only", "heartbeats without data for half a second: the publisher lives", "liveness", "A connection", Drive{Script: "at seq 500: mute data 500ms", Causes: []string{}, Logins: [2]int{1, 1}}},
		{"alive-dead-peer", "nothing comes any more: the client notices after three intervals", "liveness", "A connection", Drive{Script: "at seq 500: half-open in", Causes: []string{"silent"}, Logins: [2]int{2, 2}, Within: 2 * time.Second}},
		{"alive-mute", "the publisher hears nothing any more, and says goodbye: the client comes back", "liveness", "A connection", Drive{Script: "at seq 300: half-open out", Logins: [2]int{2, 3}}},
		{"alive-pulses", "the client is heard for two quiet seconds: it sends pulses in time", "liveness", "13 pulse (client)", Drive{Quiet: true, Ticks: 100, Causes: []string{}, Logins: [2]int{1, 1}, Pulses: 20}},
		{"alive-ahead", "a heartbeat covers numbers that were not sent", "liveness", "6 heartbeat", Drive{Script: "at seq 2: ahead 5", Quiet: true, Ticks: 200, Causes: []string{"gap"}, Logins: [2]int{2, 2}}},
		{"alive-slow-welcome", "the welcome takes a second: the client waits for it", "liveness", "A connection", Drive{Script: "at login 1: slow login 1s", Causes: []string{}, Logins: [2]int{1, 1}}},

		{"patient-retry-after", "a refusal with retry after 400 ms: no hello before that", "patience", "3 refusal, 4 goodbye (either side)", Drive{Script: "at seq 300: cut fin\nat login 2: refuse busy retry 400ms", Causes: []string{"cut", "refused busy"}, Logins: [2]int{3, 3}}},
		{"patient-goodbye-retry", "a goodbye with retry after 400 ms: no hello before that", "patience", "3 refusal, 4 goodbye (either side)", Drive{Script: "at seq 300: goodbye shutdown retry 400ms", Causes: []string{"goodbye shutdown"}, Logins: [2]int{2, 2}}},
		{"patient-refused-often", "six refusals in a row: the waits grow", "patience", "A connection", Drive{Script: "at seq 300: cut fin\nat login 2: refuse busy retry 1ms 6 times", Logins: [2]int{8, 8}}},
		{"patient-welcome-and-cut", "eight connections that end with the welcome: the client is not back hundreds of times", "patience", "A connection", Drive{Script: "at login 2: cut fin\nat login 3: cut fin\nat login 4: cut fin\nat login 5: cut fin\nat seq 300: cut fin", Logins: [2]int{6, 7}}},
		{"patient-unknown-code", "a refusal with a code that nobody knows, and retry", "patience", "3 refusal, 4 goodbye (either side)", Drive{Script: "at seq 300: cut fin\nat login 2: refuse 77 retry 10ms", Causes: []string{"cut", "refused code 77"}, Logins: [2]int{3, 3}}},
		{"patient-refused-for-good", "a refusal without retry: the client ends", "patience", "3 refusal, 4 goodbye (either side)", Drive{Script: "at login 1: refuse unauthorized for good", Terminal: true, Causes: []string{"refused unauthorized"}, Logins: [2]int{1, 1}, Ticks: 100}},
		{"patient-unknown-for-good", "a refusal without retry, of a code that nobody knows: the client ends", "patience", "3 refusal, 4 goodbye (either side)", Drive{Script: "at login 1: refuse 77 for good", Terminal: true, Causes: []string{"refused code 77"}, Logins: [2]int{1, 1}, Ticks: 100}},
		{"patient-goodbye-for-good", "a goodbye without retry: the client ends", "patience", "3 refusal, 4 goodbye (either side)", Drive{Script: "at seq 300: goodbye done for good", Terminal: true, Causes: []string{"goodbye done"}, Logins: [2]int{1, 1}, Ticks: 600}},

		{"session-restart", "the publisher starts again over its journal: the client goes on", "sessions", "Sessions change", Drive{Steps: []Step{{600, Restart}}}},
		{"session-restarts", "the publisher starts again five times", "sessions", "Sessions change", Drive{Steps: []Step{{200, Restart}, {400, Restart}, {600, Restart}, {800, Restart}, {1000, Restart}}}},
		{"session-restored", "the publisher starts again over an old copy: what came after the copy is disowned", "sessions", "Where a line starts", Drive{Steps: []Step{{400, Backup}, {600, Restore}}}},
		{"session-replaced", "another publisher without a session in common: a snapshot, and a new account", "sessions", "Where a line starts", Drive{Steps: []Step{{600, Replace}}, MayLose: true}},
		{"session-restart-filtered", "the publisher starts again, and the line is filtered", "sessions", "Filters", Drive{Steps: []Step{{600, Restart}}, Filter: codec.Filter{"MSFT"}}},
		{"session-end", "the session ends: the client says so, and leaves only when it is stopped", "sessions", "14 end", Drive{Ticks: 300, Causes: []string{}, Logins: [2]int{1, 1}}},
		{"session-memory", "the publisher keeps little, and the client is away: it says what it has lost", "sessions", "Body entries", Drive{Script: "at seq 300: cut fin\nat login 2: refuse busy retry 500ms", Memory: publisher.MinMemory, MayLose: true}},
	}
	var cases []*Case
	for i := range list {
		x := &list[i]
		if !strings.HasPrefix(x.id, "recover-snapshot") {
			x.d.From = beginning
		}
		c := &Case{ID: x.id, Rule: x.rule, Chapter: x.chapter, Section: x.section, Drive: &x.d}
		c.Needs = needs(c)
		cases = append(cases, c)
	}
	return cases
}
