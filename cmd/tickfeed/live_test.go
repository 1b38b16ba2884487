package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/logto/logtest"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// A command is a tickfeed process of its own.
type command struct {
	*exec.Cmd
	out, err logtest.Buffer
	done     chan struct{}
}

func newCommand(dir string, args ...string) *command {
	c := &command{Cmd: exec.Command("tickfeed", args...), done: make(chan struct{})}
	c.Dir, c.Stdout, c.Stderr = dir, &c.out, &c.err
	return c
}

// startCommand starts tickfeed with args.
func startCommand(t *testing.T, dir string, args ...string) *command {
	t.Helper()
	c := newCommand(dir, args...)
	c.start(t)
	return c
}

// start starts the process, which is killed at the end of the test at the latest.
func (c *command) start(t *testing.T) {
	t.Helper()
	require.NoError(t, c.Start())
	go func() {
		defer close(c.done)
		_ = c.Cmd.Wait() // the exit code is looked at
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-c.done
	})
}

// patience is how long a test waits for a process to do what is due.
const patience = 50 * time.Second

// exit waits until the process has ended, and returns its exit code.
func (c *command) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatalf("%v has not ended:\n%s", c.Args, c.err.String())
	}
	return c.ProcessState.ExitCode()
}

// says waits until standard error matches pattern.
func (c *command) says(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); !re.MatchString(c.err.String()); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v does not say %q:\n%s", c.Args, pattern, c.err.String())
		}
	}
}

// A served publisher listens on a port of its own.
type served struct {
	*publisher.Publisher
	addr string
	stop func()
}

func serve(t *testing.T, cfg publisher.Config, addr string) *served {
	t.Helper()
	p, err := publisher.New(cfg)
	require.NoError(t, err)
	var ln net.Listener
	require.Eventually(t, func() bool { ln, err = net.Listen("tcp", addr); return err == nil }, patience, 10*time.Millisecond, "listen on %s", addr)
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan struct{})
	go func() {
		defer close(end)
		_ = p.Serve(ctx, ln)
	}()
	stopped := false
	s := &served{Publisher: p, addr: ln.Addr().String()}
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		<-end
		assert.NoError(t, p.Close(context.Background()))
	}
	t.Cleanup(s.stop)
	return s
}

// A journalled tick is a tick as the journal has it.
type journalled struct {
	session feed.SessionID
	publish int64
	tick    feed.Tick
	def     *feed.Definition // of its instrument, from this tick on
}

// readJournal returns everything that was published, and the state after it.
func readJournal(t *testing.T, dir string) (all []journalled, state *feed.State) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.tick"))
	require.NoError(t, err)
	slices.Sort(paths)
	state = feed.NewState()
	for _, path := range paths {
		in, err := recording.Open(path)
		require.NoError(t, err)
		r, err := in.Reader()
		require.NoError(t, err)
		ticks := recording.NewTicks(r, nil)
		for {
			part, err := ticks.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			for _, tick := range part.Ticks {
				require.NoError(t, state.Apply(&tick))
				def, ok := state.Definition(tick.Instrument)
				require.True(t, ok)
				d := *def
				all = append(all, journalled{part.Session, part.PublishTime, tick, &d})
			}
		}
		require.NoError(t, in.Close())
	}
	return all, state
}

// shortest is v × 10^exponent in the shortest digits.
func shortest(v int64, exponent int8) string {
	r := new(big.Rat).SetInt64(v)
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent, -exponent))), nil)
	if exponent < 0 {
		r.Quo(r, new(big.Rat).SetInt(ten))
	} else {
		r.Mul(r, new(big.Rat).SetInt(ten))
	}
	s := r.FloatString(int(max(0, -exponent)))
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// null is the value of a price that is not there.
const null = "null"

// fields is what a line about j says, by name; ts_publish, seq and session are those of the packet. Empty fields are left out.
func (j *journalled) fields() map[string]string {
	t := &j.tick
	f := map[string]string{
		"session": j.session.String(), "type": t.Kind.String(), "symbol": j.def.Symbol, "venue": j.def.Venue,
		"ts_event": strconv.FormatInt(t.EventTime, 10),
	}
	if t.Flags&feed.FlagSnapshot != 0 {
		f["snapshot"] = "true"
	} else {
		f["seq"], f["ts_publish"] = strconv.FormatUint(t.Seq, 10), strconv.FormatInt(j.publish, 10)
	}
	if t.Flags&feed.FlagMore != 0 {
		f["more"] = "true"
	}
	price := func(name string, v int64) {
		f[name] = null
		if v != math.MinInt64 {
			f[name] = shortest(v, j.def.PriceExponent)
		}
	}
	size := func(name string, v int64) { f[name] = shortest(v, j.def.SizeExponent) }
	nonzero := func(name string, v int64) {
		if v != 0 {
			f[name] = strconv.FormatInt(v, 10)
		}
	}
	side := func(buy, sell string) {
		if t.Side != feed.SideNone {
			f["side"] = map[feed.Side]string{feed.SideBuy: buy, feed.SideSell: sell, feed.SideBoth: "both"}[t.Side]
		}
	}
	switch t.Kind {
	case feed.KindDefinition:
		f["price_exponent"], f["size_exponent"] = fmt.Sprint(j.def.PriceExponent), fmt.Sprint(j.def.SizeExponent)
		if j.def.Currency != "" {
			f["currency"] = j.def.Currency
		}
		if j.def.TickSize != 0 {
			price("tick_size", j.def.TickSize)
		}
		if j.def.Lot != 0 {
			size("lot", j.def.Lot)
		}
	case feed.KindQuote:
		price("bid", t.Values[0])
		size("bid_size", t.Values[1])
		price("ask", t.Values[2])
		size("ask_size", t.Values[3])
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		price("price", t.Values[0])
		size("size", t.Values[1])
		side("buy", "sell")
		if ref := t.TradeRef(); ref != "" {
			f["trade_id"] = ref
		} else if t.Values[2] != 0 {
			f["trade_id"] = strconv.FormatUint(uint64(t.Values[2]), 10)
		}
		if t.Kind != feed.KindCancel && t.Values[3] != 0 {
			f["conditions"] = feed.Conditions(t.Values[3]).String()
		}
		if t.Kind == feed.KindCorrection {
			price("old_price", t.Extra.OldPrice)
			size("old_size", t.Extra.OldSize)
		}
	case feed.KindLevel:
		side("bid", "ask")
		price("price", t.Values[0])
		size("size", t.Values[1])
	case feed.KindClear:
		side("bid", "ask")
	case feed.KindStatus:
		f["status"] = t.Status.String()
		nonzero("trading_day", t.Values[0])
	case feed.KindSummary:
		s := t.Summary()
		nonzero("trading_day", int64(s.TradingDay))
		price("open", s.Open)
		price("high", s.High)
		price("low", s.Low)
		price("last", s.Last)
		size("last_size", s.LastSize)
		if s.LastSide != feed.SideNone {
			f["last_side"] = map[feed.Side]string{feed.SideBuy: "buy", feed.SideSell: "sell"}[s.LastSide]
		}
		f["last_time"] = strconv.FormatInt(s.LastTime, 10)
		if s.LastRef != "" {
			f["trade_id"] = s.LastRef
		} else if s.LastID != 0 {
			f["trade_id"] = strconv.FormatUint(s.LastID, 10)
		}
		size("volume", s.Volume)
		f["trades"] = strconv.FormatInt(s.Trades, 10)
	}
	return f
}

// words is the line for people about j, split at blanks.
func (j *journalled) words() []string {
	t, f := &j.tick, j.fields()
	var w []string
	if t.Flags&feed.FlagSnapshot == 0 {
		w = append(w, strconv.FormatUint(t.Seq, 10))
	}
	happened := "-" // not known
	if t.EventTime != 0 {
		happened = time.Unix(0, t.EventTime).UTC().Format("15:04:05.000")
	}
	w = append(w, happened, j.def.Name(), f["type"])
	at := func(price, size string) {
		w = append(w, strings.ReplaceAll(f[price], null, "-"))
		if f[price] != null || f[size] != "0" {
			w = append(w, "x", f[size])
		}
	}
	named := func(name string, field ...string) {
		for _, field := range field {
			if v, ok := f[field]; ok {
				w = append(append(w, strings.Fields(name)...), strings.ReplaceAll(v, null, "-"))
			}
		}
	}
	switch t.Kind {
	case feed.KindDefinition:
		w = append(w, "price", "10^"+f["price_exponent"], "size", "10^"+f["size_exponent"])
		named("", "currency")
		named("tick", "tick_size")
		named("lot", "lot")
	case feed.KindQuote:
		at("bid", "bid_size")
		w = append(w, "|")
		at("ask", "ask_size")
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		at("price", "size")
		named("", "side")
		if id, ok := f["trade_id"]; ok {
			w = append(w, strings.Fields("#"+id)...)
		}
		if c, ok := f["conditions"]; ok {
			w = append(w, strings.Fields("["+c+"]")...)
		}
		if t.Kind == feed.KindCorrection {
			w = append(w, "was")
			at("old_price", "old_size")
		}
	case feed.KindLevel:
		at("price", "size")
		named("", "side")
	case feed.KindClear:
		named("", "side")
	case feed.KindStatus:
		named("", "status")
		named("trading day", "trading_day")
	case feed.KindSummary:
		named("open", "open")
		named("high", "high")
		named("low", "low")
		named("last", "last")
		named("volume", "volume")
	}
	if t.Flags&feed.FlagSnapshot != 0 {
		w = append(w, "(snapshot)")
	}
	return w
}

// parseLines reads the output of subscribe: for each line its fields by name, or its words.
func parseLines(t *testing.T, format, out string) (fields []map[string]string, words [][]string) {
	t.Helper()
	switch format {
	case "--json":
		for line := range strings.Lines(out) {
			d := json.NewDecoder(strings.NewReader(line))
			d.UseNumber()
			var v map[string]any
			require.NoError(t, d.Decode(&v), line)
			f := make(map[string]string)
			for name, value := range v {
				if f[name] = fmt.Sprint(value); value == nil {
					f[name] = null
				}
			}
			fields = append(fields, f)
		}
	case "--csv":
		rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		require.NoError(t, err)
		for _, row := range rows[1:] {
			f := make(map[string]string)
			for i, cell := range row {
				if cell != "" {
					f[rows[0][i]] = cell
				}
			}
			fields = append(fields, f)
		}
	default:
		for line := range strings.Lines(out) {
			words = append(words, strings.Fields(line))
		}
	}
	return fields, words
}

// withoutZeros returns words without the zeros at the end of the decimals of numbers, which line up with others.
func withoutZeros(words []string) []string {
	out := slices.Clone(words)
	for i, w := range words {
		if _, err := strconv.ParseFloat(w, 64); err == nil && strings.Contains(w, ".") {
			out[i] = strings.TrimSuffix(strings.TrimRight(w, "0"), ".")
		}
	}
	return out
}

// assertPrinted compares each line of the output with what was published, field by field.
func assertPrinted(t *testing.T, format, out string, want []journalled) {
	t.Helper()
	fields, words := parseLines(t, format, out)
	require.Len(t, want, len(fields)+len(words), "%s: number of lines", format)
	for i := range want {
		if format == "" {
			assert.Equal(t, want[i].words(), withoutZeros(words[i]), "line %d", i+1)
			continue
		}
		f := want[i].fields()
		if format == "--csv" {
			if f["type"] == "summary" { // which has no columns for these
				delete(f, "last_side")
				delete(f, "last_time")
				delete(f, "trade_id")
			}
			for name, v := range f {
				if v == null || v == "" {
					delete(f, name)
				}
			}
		}
		assert.Equal(t, f, fields[i], "%s: line %d", format, i+1)
	}
}

// everyField is ticks of every kind in all the forms that a field may take, for two instruments whose ids are first and
// first+1. They are published one by one, or in groups.
func everyField(first feed.InstrumentID) (groups [][]feed.Tick) {
	a, b := first, first+1
	conditions, err := feed.ParseConditions(`F,"\ I`)
	if err != nil {
		panic(err)
	}
	at := int64(noon)
	when := func() int64 { at += 1_234_567_891; return at }
	more := func(t feed.Tick) feed.Tick { t.Flags |= feed.FlagMore; return t }
	one := func(t feed.Tick) { groups = append(groups, []feed.Tick{t}) }
	one(feed.Quote{Bid: 12345, BidSize: 10, Ask: 12350, AskSize: 0}.Tick(a, when()))
	groups = append(groups, []feed.Tick{
		feed.Quote{Bid: -5, BidSize: 1, Ask: feed.NoPrice}.Tick(b, when()),
		more(feed.Quote{Bid: feed.NoPrice, Ask: 120, AskSize: 7}.Tick(b, when())),
		feed.Quote{Bid: feed.NoPrice, Ask: feed.NoPrice}.Tick(a, when()),
	})
	one(feed.Trade{Price: 12345, Size: 7, ID: math.MaxUint64, Conditions: conditions, Side: feed.SideBuy}.Tick(a, when()))
	one(more(feed.Trade{Price: 0, Size: 70, Side: feed.SideSell}.Tick(b, when())))
	ref := feed.Trade{Price: 12346, Size: 8}.Tick(a, when())
	ref.Extra = &feed.Extra{TradeRef: `T "1",é`}
	one(ref)
	one(feed.Correction{OldPrice: 12345, OldSize: 7, Trade: feed.Trade{Price: 12344, Size: 6, ID: 9, Conditions: conditions, Side: feed.SideSell}}.Tick(a, when(), ""))
	one(more(feed.Correction{OldPrice: 1, OldSize: 2, Trade: feed.Trade{Price: 3, Size: 4}}.Tick(b, when(), "A-17")))
	one(feed.Cancel{Price: 12344, Size: 6, ID: 9}.Tick(a, when(), ""))
	one(feed.Cancel{Price: 3, Size: 4}.Tick(b, when(), `B"`))
	one(feed.Trade{Price: feed.NoPrice, Size: 5}.Tick(a, when()))
	one(feed.Correction{OldPrice: feed.NoPrice, OldSize: 2, Trade: feed.Trade{Price: feed.NoPrice, Size: 4}}.Tick(b, when(), ""))
	one(feed.Cancel{Price: feed.NoPrice, Size: 4, ID: 3}.Tick(a, when(), ""))
	one(feed.Level{Side: feed.SideSell, Price: 12400, Size: 40}.Tick(a, when()))
	one(more(feed.Level{Side: feed.SideBuy, Price: -12, Size: 0}.Tick(b, when())))
	for _, s := range []feed.Side{feed.SideBuy, feed.SideSell, feed.SideBoth} {
		one(feed.ClearTick(b, when(), s))
	}
	one(feed.Level{Side: feed.SideBuy, Price: 12300, Size: 3}.Tick(a, when()))
	for i, s := range []feed.Status{feed.StatusUnknown, feed.StatusPreOpen, feed.StatusTrading, feed.StatusHalted, feed.StatusAuction, feed.StatusClosed} {
		one(feed.StatusTick(a, when(), s, []int32{0, 20260302}[i%2]))
	}
	one(feed.Trade{Price: 12347, Size: 9}.Tick(a, 0))
	return groups
}

// Every field of everything that subscribe prints and writes is what was published (PROMISES.md, 35): of ticks of every
// kind, as they come and when they are replayed in large batches, over a restart of the publisher, and in a snapshot; in
// each format; and the ledger, the reports, the account and the exit code agree with that.
func TestLiveOutput(t *testing.T) {
	dir := t.TempDir()
	var clock atomic.Int64
	clock.Store(noon + int64(time.Hour))
	cfg := publisher.Config{
		Journal: filepath.Join(dir, "j"), Sync: journal.SyncNone,
		Now: func() int64 { return clock.Add(1_000_003) },
	}
	pub := serve(t, cfg, "127.0.0.1:0")
	formats := map[string]string{"--json": "json", "--csv": "csv", "": "text"}
	subscribe := func(format, name string, more ...string) *command {
		args := []string{"subscribe", pub.addr, "--until-end", "--ledger", name + ".ledger", "--reports", name + ".reports"}
		if format != "" {
			args = append(args, format)
		}
		return startCommand(t, dir, append(args, more...)...)
	}
	live := make(map[string]*command)
	for format, name := range formats {
		live[format] = subscribe(format, name, "--from", "beginning")
	}
	for _, c := range live {
		c.says(t, "live: receiving from "+pub.addr)
	}
	publish := func(defs ...feed.Definition) {
		var first feed.InstrumentID
		for i := range defs {
			id, err := pub.Define(t.Context(), defs[i])
			require.NoError(t, err)
			if i == 0 {
				first = id
			}
		}
		for _, group := range everyField(first) {
			require.NoError(t, pub.Publish(t.Context(), group))
			require.NoError(t, pub.Flush(t.Context()))
		}
	}
	publish(feed.Definition{Symbol: `A"B,C`, Venue: "XNAS", PriceExponent: -2, SizeExponent: 1, Currency: "USD", TickSize: 5, Lot: 10},
		feed.Definition{Symbol: "Bé"})
	_, before := pub.State()
	for _, c := range live {
		require.Eventually(t, func() bool { return strings.Count(c.out.String(), "\n") >= int(before)-1 }, patience, time.Millisecond)
	}
	addr := pub.addr
	pub.stop()
	for _, c := range live {
		c.says(t, "disconnected from "+addr)
	}
	pub = serve(t, cfg, addr)
	for _, c := range live {
		c.says(t, "recovered in ")
	}
	publish(feed.Definition{Symbol: "C", Venue: "V", PriceExponent: 3, SizeExponent: -4},
		feed.Definition{Symbol: "D", PriceExponent: -18, Currency: "€", Lot: 1})
	require.NoError(t, pub.End(t.Context()))

	for format, name := range formats {
		require.Equal(t, exitDone, live[format].exit(t), live[format].err.String())
		for replayed, c := range map[string]*command{"replayed": subscribe(format, name+"2", "--from", "beginning"), "snapshot": subscribe(format, name+"3")} {
			require.Equal(t, exitDone, c.exit(t), c.err.String())
			live[replayed+format] = c
		}
	}
	pub.stop()

	all, state := readJournal(t, cfg.Journal)
	n, half := len(all), int(before)-1
	require.Equal(t, 2*half, n)
	sessions := []feed.SessionID{all[0].session, all[n-1].session}
	require.NotEqual(t, sessions[0], sessions[1])
	times := make(map[int64]bool)
	kinds := make(map[feed.Kind]bool)
	for i := range all {
		require.Equal(t, uint64(i+1), all[i].tick.Seq)
		times[all[i].publish], kinds[all[i].tick.Kind] = true, true
	}
	require.Greater(t, len(times), n/2, "many packets")
	require.Len(t, kinds, int(feed.KindSummary)-1, "every kind but the summary, which is a snapshot's")
	var entries []journalled
	for entry := range state.Entries(nil) {
		def, _ := state.Definition(entry.Instrument)
		entries = append(entries, journalled{session: sessions[1], tick: entry, def: def})
		kinds[entry.Kind] = true
	}
	require.True(t, kinds[feed.KindSummary])

	delivered := fmt.Sprintf(`{"sessions":[{"session":%q,"delivered":[[1,%d]]},{"session":%q,"delivered":[[%d,%d]]}]}`,
		sessions[0], half+1, sessions[1], half+1, n+1)
	notAsked := fmt.Sprintf(`{"sessions":[{"session":%q,"not_asked":[[1,%d]]},{"session":%q,"not_asked":[[%d,%d]]}]}`,
		sessions[0], half+1, sessions[1], half+1, n+1)
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(b)
	}
	account := func(c *command, ticks, recoveries int) {
		lines := strings.Split(strings.TrimSpace(c.err.String()), "\n")
		assert.Equal(t, fmt.Sprintf("account: %s, %s, 0 withheld, 0 lost, 0 disowned, 0 duplicated; next seq %d", nouns.Count(ticks, "tick"), nouns.Count(recoveries, "recovery"), n+1),
			lines[len(lines)-1])
		assert.Contains(t, lines, fmt.Sprintf("end of the source: the last number is %d", n))
	}
	for format, name := range formats {
		c := live[format]
		assertPrinted(t, format, c.out.String(), all)
		assert.JSONEq(t, delivered, read(name+".ledger"))
		account(c, n, 1)
		var report map[string]any
		require.NoError(t, json.Unmarshal([]byte(read(name+".reports")), &report), "one report")
		for _, took := range []string{"down_ns", "live_ns"} {
			assert.Positive(t, report[took], took)
			delete(report, took)
		}
		assert.Positive(t, report["attempts"])
		delete(report, "attempts")
		assert.Contains(t, report["detail"], addr)
		assert.Equal(t, map[string]any{
			"cause": "goodbye", "detail": report["detail"], "first_tick_ns": 0.0, "resume": "replay", "replayed": 0.0, "duplicates": 0.0,
			"addr": addr, "session": sessions[1].String(),
		}, report)

		c = live["replayed"+format]
		assertPrinted(t, format, c.out.String(), all)
		assert.JSONEq(t, delivered, read(name+"2.ledger"))
		assert.Empty(t, read(name+"2.reports"))
		account(c, n, 0)

		c = live["snapshot"+format]
		assertPrinted(t, format, c.out.String(), entries)
		assert.JSONEq(t, notAsked, read(name+"3.ledger"))
		account(c, 0, 0)
	}
}
