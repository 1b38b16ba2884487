package processes

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/simulation"
	"tickfeed/codec/effort"
	"tickfeed/feed"
)

// decimal is v × 10^exponent.
func decimal(v int64, exponent int8) string {
	if v == feed.NoPrice {
		return ""
	}
	sign, digits := "", new(big.Int).Abs(big.NewInt(v)).String()
	if v < 0 {
		sign = "-"
	}
	if exponent >= 0 {
		if v != 0 {
			digits += strings.Repeat("0", int(exponent))
		}
		return sign + digits
	}
	decimals := -int(exponent)
	if len(digits) <= decimals {
		digits = strings.Repeat("0", decimals-len(digits)+1) + digits
	}
	return sign + digits[:len(digits)-decimals] + "." + digits[len(digits)-decimals:]
}

// fieldsOf is what must be printed of a record, by the names of the fields; what is empty is not printed.
func fieldsOf(r *simulation.Record) map[string]string {
	t, d := &r.Tick, r.Definition
	f := map[string]string{
		"session": fmt.Sprintf("%016x", uint64(r.Session)), "seq": strconv.FormatUint(t.Seq, 10), "symbol": d.Symbol, "venue": d.Venue,
		"ts_event": strconv.FormatInt(t.EventTime, 10), "ts_publish": strconv.FormatInt(r.Publish, 10),
	}
	price := func(name string, v int64) { f[name] = decimal(v, d.PriceExponent) }
	size := func(name string, v int64) { f[name] = decimal(v, d.SizeExponent) }
	side := func(names ...string) { f["side"] = names[t.Side] }
	id := func() {
		if t.Values[2] != 0 {
			f["trade_id"] = strconv.FormatInt(t.Values[2], 10)
		}
		if t.Extra != nil && t.Extra.TradeRef != "" {
			f["trade_id"] = t.Extra.TradeRef
		}
	}
	conditions := func() {
		for c := uint64(t.Values[3]); c != 0; c <<= 8 {
			f["conditions"] += string(rune(c >> 56))
		}
	}
	if t.Flags&feed.FlagMore != 0 {
		f["more"] = "true"
	}
	switch t.Kind {
	case feed.KindDefinition:
		f["type"] = "definition"
		f["price_exponent"], f["size_exponent"] = strconv.Itoa(int(d.PriceExponent)), strconv.Itoa(int(d.SizeExponent))
		f["currency"] = d.Currency
		if d.TickSize != 0 {
			price("tick_size", d.TickSize)
		}
		if d.Lot != 0 {
			size("lot", d.Lot)
		}
	case feed.KindQuote:
		f["type"] = "quote"
		price("bid", t.Values[0])
		size("bid_size", t.Values[1])
		price("ask", t.Values[2])
		size("ask_size", t.Values[3])
	case feed.KindTrade:
		f["type"] = "trade"
		price("price", t.Values[0])
		size("size", t.Values[1])
		side("", "buy", "sell")
		id()
		conditions()
	case feed.KindCorrection:
		f["type"] = "correction"
		price("price", t.Values[0])
		size("size", t.Values[1])
		price("old_price", t.Extra.OldPrice)
		size("old_size", t.Extra.OldSize)
		side("", "buy", "sell")
		id()
		conditions()
	case feed.KindCancel:
		f["type"] = "cancel"
		price("price", t.Values[0])
		size("size", t.Values[1])
		id()
	case feed.KindStatus:
		f["type"] = "status"
		f["status"] = []string{"unknown", "pre-open", "trading", "halted", "auction", "closed"}[t.Status]
		if t.Values[0] != 0 {
			f["trading_day"] = strconv.FormatInt(t.Values[0], 10)
		}
	default:
		f["type"] = fmt.Sprintf("kind %d", t.Kind)
	}
	for name, v := range f {
		if v == "" {
			delete(f, name)
		}
	}
	return f
}

// jsonRows are the fields of lines of JSON; null is nothing.
func jsonRows(t *testing.T, printed []byte) (rows []map[string]string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(printed))
	d.UseNumber()
	for d.More() {
		var v map[string]any
		require.NoError(t, d.Decode(&v))
		row := map[string]string{}
		for name, v := range v {
			if v != nil {
				row[name] = fmt.Sprint(v)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// csvRows are the fields of CSV, by its header.
func csvRows(t *testing.T, printed []byte) (rows []map[string]string) {
	t.Helper()
	lines, err := csv.NewReader(bytes.NewReader(printed)).ReadAll()
	require.NoError(t, err)
	require.NotEmpty(t, lines)
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, v := range line {
			if v != "" {
				row[lines[0][i]] = v
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// Everything that is printed or written is what was published, field by field, as the journal holds it: ticks in each
// format, over a kill of the publisher; the ledger, the reports and the last line; what the publisher logs; and exit codes
// (PROMISES.md, 35).
func TestEverythingPrintedIsWhatWasPublished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	journal, addr := filepath.Join(dir, "journal"), "unix:"+filepath.Join(dir, "p.sock")
	args := lively(effort.Of(t, "4k", "1k"), "--journal", journal, "--listen", addr, "--status", "10ms")
	p := publish(t, args...)
	subscribe := func(name string, more ...string) *process {
		return start(t, exec.Command(tickfeed(t), append([]string{
			"subscribe", addr, "--from", "beginning", "--until-end", "--ledger", filepath.Join(dir, name+".ledger"), "--reports", filepath.Join(dir, name+".reports"),
		}, more...)...))
	}
	subscribers := map[string]*process{
		"json": subscribe("json", "--json"), "csv": subscribe("csv", "--csv"), "some": subscribe("some", "--json", "--symbols", "A*,M*"),
	}
	for _, s := range subscribers {
		_, ok := s.line(0, func(s string) bool { return strings.HasPrefix(s, "live: ") })
		require.True(t, ok, "%v", s.said())
	}
	kills := 2
	sessions := []*publisher{p}
	for range kills {
		time.Sleep(300 * time.Millisecond)
		p.kill()
		p = publish(t, args...)
		sessions = append(sessions, p)
		for _, s := range subscribers {
			_, ok := s.line(0, func(line string) bool { // as many recoveries as kills so far
				n := 0
				for _, l := range s.said() {
					if strings.HasPrefix(l, "recovered in ") {
						n++
					}
				}
				return n == len(sessions)-1
			})
			require.True(t, ok, "%v", s.said())
		}
	}
	// All subscribers are back, so the publisher reports them within one of its intervals, however late that comes.
	_, ok := p.line(0, func(s string) bool {
		e, ok := parseStatus(s)
		return ok && e.Subscribers == len(subscribers)
	})
	require.True(t, ok, "a line of status with %d subscribers: %v", len(subscribers), p.said())
	p.end()
	for name, s := range subscribers {
		require.Equal(t, 0, s.wait(), "%s: exit code: %v", name, s.said())
	}
	final := p.stop()

	files, err := filepath.Glob(filepath.Join(journal, "*.tick"))
	require.NoError(t, err)
	var want []map[string]string
	events := []int64{0} // the greatest event time before each number, from 1
	held, err := simulation.ReadRecordings(func(r *simulation.Record) error {
		want = append(want, fieldsOf(r))
		events = append(events, max(events[len(events)-1], r.Tick.EventTime))
		return nil
	}, files...)
	require.NoError(t, err)
	require.Equal(t, final, held.Next, "the publisher's last words, and its journal")
	require.Len(t, held.Lineage, kills+1)
	require.Len(t, want, int(final-1))
	const simulation = 1
	assert.Equal(t, uint64(simulation), held.Mode)
	for i, s := range sessions {
		assert.Equal(t, held.Lineage[i], feed.Session{ID: s.session, First: s.first}, "what the publisher logged of session %d", i)
	}
	judgeStatus(t, p, final, events, files)

	for name, s := range subscribers {
		var got []map[string]string
		if name == "csv" {
			got = csvRows(t, s.stdout.Bytes())
		} else {
			got = jsonRows(t, s.stdout.Bytes())
		}
		want := want
		if name == "some" {
			want = slices.DeleteFunc(slices.Clone(want), func(f map[string]string) bool { return !strings.ContainsAny(f["symbol"][:1], "AM") })
		}
		comparePrinted(t, name, want, got)
		ticks := uint64(len(want))

		var ledger struct {
			Sessions []feed.Account `json:"sessions"`
		}
		require.NoError(t, json.Unmarshal(readFile(t, filepath.Join(dir, name+".ledger")), &ledger), name)
		if assert.Len(t, ledger.Sessions, kills+1, name) {
			var delivered uint64
			for i, a := range ledger.Sessions {
				to := final
				if i < kills {
					to = held.Lineage[i+1].First
				}
				assert.Equal(t, held.Lineage[i].ID, a.Session, name)
				whole := feed.Range{From: held.Lineage[i].First, To: to}
				var covered []feed.Range
				covered = append(covered, a.Delivered.Ranges()...)
				delivered += a.Delivered.Len()
				for _, span := range a.Filtered {
					covered = append(covered, span.Range)
					delivered += span.Delivered
				}
				slices.SortFunc(covered, func(x, y feed.Range) int { return int(x.From) - int(y.From) })
				at := whole.From
				for _, r := range covered {
					assert.Equal(t, at, r.From, "%s: session %d: %v", name, i, a)
					at = r.To
				}
				assert.Equal(t, whole.To, at, "%s: session %d: %v", name, i, a)
				assert.Zero(t, a.Lost.Len()+a.Withheld.Len()+a.Disowned.Len()+a.NotAsked.Len(), "%s: session %d: %v", name, i, a)
			}
			assert.Equal(t, ticks, delivered, "%s: delivered, by the ledger", name)
		}

		reports := bytes.Split(bytes.TrimSpace(readFile(t, filepath.Join(dir, name+".reports"))), []byte("\n"))
		if assert.Len(t, reports, kills, "%s: reports", name) {
			for i, line := range reports {
				compareReport(t, fmt.Sprintf("%s: report %d: %s", name, i, line), line, held.Lineage[i+1].ID, addr)
			}
		}
		said := s.said()
		account := regexp.MustCompile(`(\d),(\d)`).ReplaceAllString(said[len(said)-1], "$1$2")
		assert.Equal(t, fmt.Sprintf("account: %d ticks, %d recoveries, 0 withheld, 0 lost, 0 disowned, 0 duplicated; next seq %d", ticks, kills, final), account, name)
		assert.Contains(t, said, fmt.Sprintf("end of the source: the last number is %d", final-1), name)
	}
	t.Logf("%d ticks of %d sessions, each compared in three outputs", final-1, kills+1)
}

// judgeStatus compares what a publisher logged of itself with its journal; events is the greatest event time before each
// number, less 1.
func judgeStatus(t *testing.T, p *publisher, final uint64, events []int64, files []string) {
	t.Helper()
	var size int64
	for _, path := range files {
		info, err := os.Stat(path)
		require.NoError(t, err)
		size += info.Size()
	}
	last, seen := uint64(0), 0
	for _, line := range p.said() {
		e, ok := parseStatus(line)
		if !ok {
			continue
		}
		seen++
		require.GreaterOrEqual(t, e.Head, max(last, p.first), "%s", line)
		require.LessOrEqual(t, e.Head, final, "%s", line)
		assert.Equal(t, events[e.Head-1], e.Event, "%s", line)
		assert.LessOrEqual(t, e.Subscribers, 3, "%s", line)
		assert.LessOrEqual(t, e.Journal, size, "%s", line)
		assert.Positive(t, e.Journal, "%s", line)
		assert.Empty(t, e.Disk, "%s", line)
		last = e.Head
	}
	assert.Positive(t, seen, "lines of status")
}

// A status is what a publisher logs of itself at an interval.
type status struct {
	Message     string `json:"message"`
	Head        uint64 `json:"head"`
	Subscribers int    `json:"subscribers"`
	Journal     int64  `json:"journal_bytes"`
	Event       int64  `json:"event_time"`
	Disk        string `json:"disk"`
}

// parseStatus returns false if line is not a line of status.
func parseStatus(line string) (s status, ok bool) {
	err := json.Unmarshal([]byte(line), &s)
	return s, err == nil && s.Message == "status"
}

// number is what a field holds if it is a decimal number.
var number = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// comparePrinted compares what was printed with what must be: every field of every row, none too many.
func comparePrinted(t *testing.T, name string, want, got []map[string]string) {
	t.Helper()
	require.Len(t, got, len(want), "%s: rows", name)
	wrong := 0
	for i := range want {
		for _, field := range slices.Sorted(keysOf(want[i], got[i])) {
			w, g := want[i][field], got[i][field]
			if w == g || number.MatchString(w) && number.MatchString(g) && sameNumber(w, g) {
				continue
			}
			if name == "some" && field == "ts_publish" && laterBy(w, g) <= merged {
				continue
			}
			if wrong++; wrong <= maxWrongs {
				assert.Fail(t, "a field that is not the journal's", "%s: number %s, %s: %q is printed, want %q", name, want[i]["seq"], field, g, w)
			}
		}
	}
	assert.Zero(t, wrong, "%s: fields that are not the journal's", name)
}

// merged is how far apart the packets may have been sealed whose ticks a filtered line puts into one, with the time of the last.
const merged = time.Millisecond

// laterBy is how much later time got is than want; an hour if it is earlier.
func laterBy(want, got string) time.Duration {
	w, err := strconv.ParseInt(want, 10, 64)
	g, also := strconv.ParseInt(got, 10, 64)
	if err != nil || also != nil || g < w {
		return time.Hour
	}
	return time.Duration(g - w)
}

func sameNumber(a, b string) bool {
	x, ok := new(big.Rat).SetString(a)
	y, also := new(big.Rat).SetString(b)
	return ok && also && x.Cmp(y) == 0
}

// keysOf are the names of the fields of both.
func keysOf(a, b map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range a {
			if !yield(k) {
				return
			}
		}
		for k := range b {
			if _, both := a[k]; !both && !yield(k) {
				return
			}
		}
	}
}

// compareReport judges a report of one recovery from a kill, whose session is known.
func compareReport(t *testing.T, what string, line []byte, session feed.SessionID, addr string) {
	t.Helper()
	var r struct {
		Cause      string         `json:"cause"`
		Resume     string         `json:"resume"`
		Addr       string         `json:"addr"`
		Session    feed.SessionID `json:"session"`
		Down       int64          `json:"down_ns"`
		FirstTick  int64          `json:"first_tick_ns"`
		Live       int64          `json:"live_ns"`
		Attempts   int            `json:"attempts"`
		Replayed   uint64         `json:"replayed"`
		Lost       []any          `json:"lost"`
		Disowned   []any          `json:"disowned"`
		Duplicates uint64         `json:"duplicates"`
	}
	require.NoError(t, json.Unmarshal(line, &r), what)
	assert.Equal(t, "cut", r.Cause, what)
	assert.Equal(t, "replay", r.Resume, what)
	assert.Equal(t, addr, r.Addr, what)
	assert.Equal(t, session, r.Session, what)
	assert.Positive(t, r.Attempts, what)
	assert.Positive(t, r.Down, what)
	assert.GreaterOrEqual(t, r.Live, r.Down, what)
	assert.True(t, r.FirstTick == 0 && r.Replayed == 0 || r.FirstTick > 0 && r.FirstTick <= r.Live, what)
	assert.Empty(t, r.Lost, what)
	assert.Empty(t, r.Disowned, what)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}
