package exam

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"tickfeed/codec"
	"tickfeed/testdata/streams"
)

// A Case is one question of the exam.
type Case struct {
	ID      string
	Rule    string // what the case is about, in a sentence
	Chapter string // tolerance, faults, accounts or state
	Section string // of codec/PROTOCOL.md
	Needs   []Ability
	Streams []Stream // one for each connection; none if Drive is set, or if the case is for publishers
	Drive   *Drive

	// The fields of a case for publishers.
	Does  string // what the exam does
	probe func(*probe)
}

// A Stream is one connection of a case: the bytes that a publisher sends to a client that said Hello, and the lines that
// the client prints.
type Stream struct {
	Name  string
	Hello *codec.Hello
	Bytes []byte
	Want  []string // as in testdata/streams; the lines after the last connection end with "left"
}

// An Ability is something that a client may lack without being wrong.
type Ability string

// The abilities.
const (
	Filters   Ability = "filters"    // it can ask for some instruments
	Policies  Ability = "policies"   // it can choose a slow-consumer policy
	Starts    Ability = "starts"     // it can start elsewhere than at a snapshot as of now
	StateFile Ability = "state-file" // it reads its position from a file, and keeps it there
	Ledgers   Ability = "ledger"     // it prints its ledger at the end
	States    Ability = "state"      // it prints its state at the end
)

// Abilities lists all abilities.
var Abilities = []Ability{Filters, Policies, Starts, StateFile, Ledgers, States}

// The abilities of publishers, beside Filters and Policies.
const (
	Input     Ability = "input"     // it publishes the ticks on its standard input
	History   Ability = "history"   // it sends numbers that it gave before a client connected
	Snapshots Ability = "snapshots" // it sends the state as of a number
	Checksums Ability = "checksums" // its checksums and seeds are right
	Journal   Ability = "journal"   // it continues its numbering when it is started again
	Retention Ability = "retention" // it can be set to keep a part of its journal only
	Tokens    Ability = "tokens"    // it demands credentials
)

// PublisherAbilities lists all abilities of publishers.
var PublisherAbilities = []Ability{Input, History, Snapshots, Filters, Policies, Checksums, Journal, Retention, Tokens}

// Chapters lists the chapters in the order of a report: those of clients, and those of publishers.
var Chapters = []string{
	"tolerance", "faults", "accounts", "state", "recovery", "liveness", "patience", "sessions", chapterOwn,
	"welcome", "starts", "numbers", "snapshots", "filters", "life", "refusals", "hostility", "restarts", "slowness",
}

// chapterOwn is the chapter of a case that names none.
const chapterOwn = "own"

var chapterOf = map[string]string{"good": "tolerance", "bad": "faults", "account": "accounts", "state": "state"}

// sections are the sections of codec/PROTOCOL.md that cases whose id begins so are about; the longest prefix counts.
var sections = []struct{ prefix, section string }{
	{"good-", "What a reader refuses, and what it accepts"},
	{"good-auction", "Body entries"},
	{"good-deep", "Limits"},
	{"good-early", "A connection"},
	{"good-end", "14 end"},
	{"good-filtered", "Filters"},
	{"good-goodbye", "3 refusal, 4 goodbye (either side)"},
	{"good-granted", "Filters"},
	{"good-gone", "Body entries"},
	{"good-greatest", "Limits"},
	{"good-largest", "5 packet"},
	{"good-live", "Where a line starts"},
	{"good-plain", "5 packet"},
	{"good-publish-time", "5 packet"},
	{"good-refused", "3 refusal, 4 goodbye (either side)"},
	{"good-session", "Sessions change"},
	{"good-shortest", "Body entries"},
	{"good-snapshot", "7 snapshot begin, 8 snapshot part, 9 snapshot end"},
	{"good-sparse", "Body entries"},
	{"good-start-", "Where a line starts"},
	{"good-undefined", "Body entries"},
	{"good-withheld", "Slow consumers"},
	{"good-65", "Sessions change"},
	{"bad-", "What a reader refuses, and what it accepts"},
	{"bad-checksum", "Checksums"},
	{"bad-gap", "The joining rule"},
	{"bad-overlap", "The joining rule"},
	{"bad-seed", "Checksums"},
	{"bad-session", "Sessions change"},
	{"bad-snapshot", "7 snapshot begin, 8 snapshot part, 9 snapshot end"},
	{"bad-tick-where", "A connection"},
	{"bad-welcome", "Where a line starts"},
	{"bad-heartbeat", "6 heartbeat"},
	{"bad-end-", "14 end"},
	{"bad-end-of-packet", "5 packet"},
	{"bad-count", "5 packet"},
	{"account-", "The joining rule"},
	{"account-denied", "Permissions"},
	{"account-expired", "Where a line starts"},
	{"account-lost-start", "Where a line starts"},
	{"account-not-asked", "Where a line starts"},
	{"account-resumed", "Where a line starts"},
	{"account-rewound", "Where a line starts"},
	{"account-unrelated", "Where a line starts"},
	{"account-disowned", "Sessions change"},
	{"account-replay", "Sessions change"},
	{"account-filtered", "Filters"},
	{"account-withheld", "Slow consumers"},
	{"state-", "The state"},
}

// Cases returns all cases: those of the golden streams, sorted by id, and then those that take time. The result is shared and must not be changed.
func Cases() []*Case { return allCases() }

var allCases = sync.OnceValue(func() []*Case {
	cases, err := load(streams.FS)
	if err != nil {
		panic("exam: internal error: the golden streams: " + err.Error())
	}
	drives, err := driveCases()
	if err != nil {
		panic("exam: internal error: the cases that take time: " + err.Error())
	}
	return append(cases, drives...)
})

func load(files fs.FS) ([]*Case, error) {
	index, err := fs.ReadFile(files, "index.txt")
	if err != nil {
		return nil, err
	}
	byID := map[string]*Case{}
	var cases []*Case
	for line := range strings.Lines(string(index)) {
		name, rule, _ := strings.Cut(strings.TrimSpace(line), " ")
		s, err := readStream(files, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		id := caseOf(name)
		c := byID[id]
		if c == nil {
			c = &Case{ID: id, Rule: strings.TrimSpace(rule), Chapter: chapterOf[strings.SplitN(id, "-", 2)[0]], Section: sectionOf(id)}
			byID[id] = c
			cases = append(cases, c)
		} else {
			c.Rule += "; then " + strings.TrimSpace(rule)
		}
		c.Streams = append(c.Streams, s)
	}
	for _, c := range cases {
		slices.SortFunc(c.Streams, func(a, b Stream) int { return strings.Compare(a.Name, b.Name) })
		c.Needs = needs(c)
	}
	slices.SortFunc(cases, func(a, b *Case) int { return strings.Compare(a.ID, b.ID) })
	return cases, nil
}

// caseOf returns the id of the case that the stream belongs to: streams of several connections end in -1, -2 and so on.
func caseOf(stream string) string {
	i := strings.LastIndexByte(stream, '-')
	if i > 0 && len(stream) == i+2 && stream[i+1] >= '1' && stream[i+1] <= '9' {
		return stream[:i]
	}
	return stream
}

func sectionOf(id string) (section string) {
	longest := -1
	for _, s := range sections {
		if strings.HasPrefix(id, s.prefix) && len(s.prefix) > longest {
			longest, section = len(s.prefix), s.section
		}
	}
	return section
}

func readStream(files fs.FS, name string) (Stream, error) {
	raw, err := fs.ReadFile(files, name+".msgpack")
	if err != nil {
		return Stream{}, err
	}
	_, first, err := codec.NewReader(bytes.NewReader(raw), 0).Next()
	if err != nil {
		return Stream{}, err
	}
	m, err := codec.Decode(first)
	if err != nil {
		return Stream{}, err
	}
	hello, ok := m.(*codec.Hello)
	if !ok {
		return Stream{}, fmt.Errorf("begins with a %T, want a hello", m)
	}
	lines, err := fs.ReadFile(files, name+".ndjson")
	if err != nil {
		return Stream{}, err
	}
	s := Stream{Name: name, Hello: hello, Bytes: raw[len(first):]}
	for line := range strings.Lines(string(lines)) {
		s.Want = append(s.Want, strings.TrimSuffix(line, "\n"))
	}
	return s, nil
}

func needs(c *Case) (all []Ability) {
	var h codec.Hello
	keeps := false // a position, in a file
	if d := c.Drive; d != nil {
		h, keeps = codec.Hello{Filter: d.Filter, Slow: d.Slow, Start: d.From}, d.KillAfter > 0
	} else {
		h = *c.Streams[0].Hello
		keeps = len(h.Position.Lineage) > 0
	}
	for _, x := range []struct {
		needed  bool
		ability Ability
	}{
		{len(h.Filter) > 0, Filters}, {h.Slow != codec.SlowAll, Policies}, {h.Start.Kind != codec.StartSnapshot, Starts}, {keeps, StateFile},
	} {
		if x.needed {
			all = append(all, x.ability)
		}
	}
	return all
}

// Wants returns the lines that a right client prints, over all connections.
func (c *Case) Wants() (lines []string) {
	for _, s := range c.Streams {
		lines = append(lines, s.Want...)
	}
	return lines
}
