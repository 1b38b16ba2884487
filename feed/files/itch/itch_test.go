package itch_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/itch"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/recorded"
)

type expectation struct {
	Messages   int64            `json:"messages"`
	Packets    int64            `json:"packets"`
	ByType     map[string]int64 `json:"by_type"`
	FirstTime  int64            `json:"first_ts_ns"`
	LastTime   int64            `json:"last_ts_ns"`
	Symbols    int              `json:"directory_symbols"`
	Executions map[string]struct {
		Executions int64 `json:"executions"`
		Shares     int64 `json:"executed_shares"`
		Min        int64 `json:"min_price_x10000"`
		Max        int64 `json:"max_price_x10000"`
	} `json:"stock_order_events_E_C"`
	Trades      int64 `json:"trade_P_count"`
	TradeShares int64 `json:"trade_P_shares"`
	Crosses     int64 `json:"cross_Q_count"`
	CrossShares int64 `json:"cross_Q_shares"`
	Unknown     int64 `json:"messages_about_unknown_order_refs"`
	Detail      []struct {
		Messages []struct {
			Type   string `json:"type"`
			Time   int64  `json:"ts_ns"`
			Side   string `json:"side"`
			Shares int64  `json:"shares"`
			Stock  string `json:"stock"`
			Price  int64  `json:"price_x10000"`
			Match  uint64 `json:"match"`
		} `json:"messages"`
	} `json:"detail"`
}

func read(t *testing.T, cfg itch.Config, paths ...string) ([]feed.Tick, *feed.State, rawfile.Stats) {
	t.Helper()
	src, err := itch.Open(paths, cfg)
	require.NoError(t, err)
	ticks, state := recorded.ReadAll(t, src)
	return ticks, state, src.Stats()
}

// midnight of a date in New York.
func midnight(t *testing.T, y int, m time.Month, d int) int64 {
	zone, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	return time.Date(y, m, d, 0, 0, 0, 0, zone).UnixNano()
}

// The recorded BinaryFILEs agree with an independent decoder: messages by type, symbols, trades, crosses and
// executions, unknown orders. The date, which no message carries, comes from the Config or the file's name.
func TestRecordedFiles(t *testing.T) {
	dir := recorded.Dir(t)
	for _, c := range []struct {
		file string
		date int
	}{
		{"itch/NASDAQ_ITCH50.2023-08-22.alltypes.itch", 0},
		{"itch/NASDAQ_ITCH50.first1000.itch", 20230822},
		{"itch/SIMULATED_ex20101224.TEST_ITCH_50.reframed.gz", 0},
	} {
		t.Run(c.file, func(t *testing.T) {
			path := filepath.Join(dir, c.file)
			e := recorded.Expected[expectation](t, dir, c.file)
			head, err := rawfile.Head(path, rawfile.HeadSize)
			require.NoError(t, err)
			assert.True(t, itch.Recognise(head))
			ticks, state, stats := read(t, itch.Config{Date: c.date}, path)
			assert.Equal(t, e.Messages, stats.Messages)
			for kind, n := range stats.Types {
				assert.Equal(t, e.ByType[string(rune(kind))], n, "type %c", kind)
			}
			assert.Equal(t, e.Unknown, stats.Unknown)
			defs := recorded.Only(ticks, feed.KindDefinition)
			if e.Symbols > 0 {
				assert.Len(t, defs, e.Symbols)
			}
			var hidden, hiddenShares, crosses, crossShares int64
			type sums struct{ executions, shares, low, high int64 }
			executed := make(map[string]*sums)
			for _, tick := range recorded.Only(ticks, feed.KindTrade) {
				tr := tick.Trade()
				d, _ := state.Definition(tick.Instrument)
				switch {
				case tr.Side != feed.SideNone:
					s := executed[d.Symbol]
					if s == nil {
						s = &sums{low: tr.Price}
						executed[d.Symbol] = s
					}
					s.executions++
					s.shares += tr.Size
					s.low, s.high = min(s.low, tr.Price), max(s.high, tr.Price)
				case tr.Conditions != 0:
					crosses++
					crossShares += tr.Size
				case stats.Types['C'] == 0:
					hidden++
					hiddenShares += tr.Size
				}
			}
			if stats.Types['C'] == 0 {
				assert.Equal(t, e.Trades, hidden)
				assert.Equal(t, e.TradeShares, hiddenShares)
			}
			assert.LessOrEqual(t, crosses, e.Crosses, "a cross of 0 shares is no trade")
			assert.Equal(t, e.CrossShares, crossShares)
			for symbol, want := range e.Executions {
				if want.Executions > 0 {
					assert.Equal(t, &sums{want.Executions, want.Shares, want.Min, want.Max}, executed[symbol], symbol)
				}
			}
		})
	}
}

// 49 captures with VLAN tags and nanosecond times, 37 of them with session and number 0: each decodes to its
// messages, none counts as a gap or a duplicate, and the date is that of the capture.
func TestRecordedCaptures(t *testing.T) {
	dir := recorded.Dir(t)
	files := 0
	day := midnight(t, 2023, 8, 22)
	for file := range recorded.All(t, dir) {
		if !strings.HasPrefix(file, "itch/moldudp64/") {
			continue
		}
		files++
		e := recorded.Expected[expectation](t, dir, file)
		path := filepath.Join(dir, file)
		head, err := rawfile.Head(path, rawfile.HeadSize)
		require.NoError(t, err)
		assert.True(t, itch.Recognise(head), file)
		ticks, state, stats := read(t, itch.Config{}, path)
		assert.Equal(t, e.Packets, stats.Packets, file)
		assert.Equal(t, e.Messages, stats.Messages, file)
		for kind, n := range stats.Types {
			assert.Equal(t, e.ByType[string(rune(kind))], n, "%s: type %c", file, kind)
		}
		assert.Zero(t, stats.Duplicates+stats.Resets+stats.Foreign, file)
		if file == "itch/moldudp64/nasdaq-Multiple.Packets.pcap" {
			assert.EqualValues(t, 1, stats.Gaps)
			assert.EqualValues(t, 19009117-14764497, stats.Missing)
		} else {
			assert.Zero(t, stats.Gaps, file)
		}
		trades, levels := recorded.Only(ticks, feed.KindTrade), recorded.Only(ticks, feed.KindLevel)
		auctions := recorded.Only(ticks, feed.KindAuction)
		assert.EqualValues(t, stats.Types['I'], len(auctions), file)
		for _, p := range e.Detail {
			for _, m := range p.Messages {
				var got *feed.Tick
				switch {
				case m.Type == "A" || m.Type == "F":
					got, levels = &levels[0], levels[1:]
					assert.Equal(t, m.Price, got.Level().Price, file)
					assert.Equal(t, m.Side == "S", got.Side == feed.SideSell, file)
					assert.GreaterOrEqual(t, got.Level().Size, m.Shares, file)
				case m.Type == "P" || m.Type == "Q" && m.Shares > 0:
					got, trades = &trades[0], trades[1:]
					assert.Equal(t, m.Price, got.Trade().Price, file)
					assert.Equal(t, m.Shares, got.Trade().Size, file)
					assert.Equal(t, m.Match, got.Trade().ID, file)
				case m.Type == "I":
					got, auctions = &auctions[0], auctions[1:]
				default:
					continue
				}
				assert.Equal(t, day+m.Time, got.EventTime, file)
				d, _ := state.Definition(got.Instrument)
				assert.Equal(t, m.Stock, d.Symbol, file)
			}
		}
	}
	assert.Equal(t, 49, files)
}

// writer makes BinaryFILEs.
type writer []byte

func (w *writer) message(kind byte, locate int, ns uint64, fill func(m []byte), length int) *writer {
	m := make([]byte, length)
	m[0] = kind
	binary.BigEndian.PutUint16(m[1:], uint16(locate))
	m[5], m[6] = byte(ns>>40), byte(ns>>32)
	binary.BigEndian.PutUint32(m[7:], uint32(ns))
	if fill != nil {
		fill(m)
	}
	*w = binary.BigEndian.AppendUint16(*w, uint16(length))
	*w = append(*w, m...)
	return w
}

func (w *writer) add(ns, ref uint64, side byte, shares, price uint32) *writer {
	return w.message('A', 1, ns, func(m []byte) {
		binary.BigEndian.PutUint64(m[11:], ref)
		m[19] = side
		binary.BigEndian.PutUint32(m[20:], shares)
		copy(m[24:], "XYZ     ")
		binary.BigEndian.PutUint32(m[32:], price)
	}, 36)
}

func (w *writer) order(kind byte, ns, ref uint64, length int, rest ...uint64) *writer {
	return w.message(kind, 1, ns, func(m []byte) {
		binary.BigEndian.PutUint64(m[11:], ref)
		switch kind {
		case 'X':
			binary.BigEndian.PutUint32(m[19:], uint32(rest[0]))
		case 'E', 'C':
			binary.BigEndian.PutUint32(m[19:], uint32(rest[0]))
			binary.BigEndian.PutUint64(m[23:], rest[1])
			if kind == 'C' {
				m[31] = byte(rest[2])
				binary.BigEndian.PutUint32(m[32:], uint32(rest[3]))
			}
		case 'U':
			binary.BigEndian.PutUint64(m[19:], rest[0])
			binary.BigEndian.PutUint32(m[27:], uint32(rest[1]))
			binary.BigEndian.PutUint32(m[31:], uint32(rest[2]))
		}
	}, length)
}

func (w *writer) event(ns uint64, code byte) *writer {
	return w.message('S', 0, ns, func(m []byte) { m[11] = code }, 12)
}

func (w writer) file(t testing.TB, name string) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, w, 0o600))
	return path
}

// story describes ticks in words.
func story(ticks []feed.Tick) []string {
	num := func(v int64) string {
		if v == feed.NoPrice {
			return "-"
		}
		return strconv.FormatInt(v, 10)
	}
	var s []string
	for _, tick := range ticks {
		v := tick.Values
		words := []string{tick.Kind.String()}
		switch tick.Kind {
		case feed.KindQuote:
			words = append(words, num(v[0]), num(v[1]), num(v[2]), num(v[3]))
		case feed.KindTrade, feed.KindCancel:
			words = append(words, tick.Side.String(), num(v[0]), num(v[1]), "#"+num(v[2]))
		case feed.KindLevel:
			words = append(words, tick.Side.String(), num(v[0]), num(v[1]))
		case feed.KindClear:
			words = append(words, tick.Side.String())
		}
		if tick.Flags&feed.FlagMore != 0 {
			words = append(words, "+")
		}
		s = append(s, strings.Join(words, " "))
	}
	return s
}

// Orders make a book: add, execute, cancel in part, replace, delete, executions at another price whether
// printed or not, a broken trade, and a new day that begins empty.
func TestOrdersMakeABook(t *testing.T) {
	var w writer
	w.add(1, 10, 'B', 100, 50).add(2, 11, 'S', 200, 52).add(3, 12, 'B', 300, 50)
	w.order('E', 4, 10, 31, 40, 901)
	w.order('X', 5, 12, 23, 100)
	w.order('U', 6, 11, 35, 13, 70, 51)
	w.order('U', 6, 12, 35, 14, 150, 50) // the same price
	w.order('C', 7, 13, 36, 20, 902, 'Y', 49)
	w.order('C', 8, 13, 36, 20, 903, 'N', 49) // a cross reports it again
	w.order('D', 9, 10, 19)
	w.order('D', 9, 99, 19) // an unknown order
	w.message('B', 1, 10, func(m []byte) { binary.BigEndian.PutUint64(m[11:], 901) }, 19)
	w.message('B', 1, 11, func(m []byte) { binary.BigEndian.PutUint64(m[11:], 555) }, 19)
	w.event(12, 'O')
	ticks, _, stats := read(t, itch.Config{}, w.file(t, "01302020.NASDAQ_ITCH50"))
	assert.Equal(t, []string{
		"definition +", "level buy 50 100 +", "quote 50 100 - 0",
		"level sell 52 200 +", "quote 50 100 52 200",
		"level buy 50 400 +", "quote 50 400 52 200",
		"trade sell 50 40 #901 +", "level buy 50 360 +", "quote 50 360 52 200",
		"level buy 50 260 +", "quote 50 260 52 200",
		"level sell 52 0 +", "level sell 51 70 +", "quote 50 260 51 70",
		"level buy 50 210 +", "quote 50 210 51 70",
		"trade buy 49 20 #902 +", "level sell 51 50 +", "quote 50 210 51 50",
		"level sell 51 30 +", "quote 50 210 51 30",
		"level buy 50 150 +", "quote 50 150 51 30",
		"cancel  50 40 #901",
		"cancel  - 0 #555",
		"clear both +", "quote - 0 - 0",
	}, story(ticks))
	assert.EqualValues(t, 2, stats.Unknown)
	assert.Equal(t, midnight(t, 2020, 1, 30)+1, ticks[0].EventTime)

	only, _, _ := read(t, itch.Config{QuotesOnly: true, Date: 20200130}, w.file(t, "x"))
	for _, tick := range only {
		assert.NotContains(t, []feed.Kind{feed.KindLevel, feed.KindClear}, tick.Kind)
	}
}

// The date is found in names that files have; without one, Date must be set.
func TestDatesAreFoundInNames(t *testing.T) {
	var w writer
	w.add(5, 1, 'B', 1, 1)
	for name, want := range map[string]int64{
		"01302020.NASDAQ_ITCH50.gz": midnight(t, 2020, 1, 30),
		"S013020-v50.txt.gz":        midnight(t, 2020, 1, 30),
		"itch-2020-07-30.bin":       midnight(t, 2020, 7, 30), // daylight saving time
		"20200730.itch":             midnight(t, 2020, 7, 30),
	} {
		ticks, _, _ := read(t, itch.Config{}, w.file(t, name))
		assert.Equal(t, want+5, ticks[0].EventTime, name)
	}
	src, err := itch.Open([]string{w.file(t, "NASDAQ_ITCH50")}, itch.Config{})
	require.NoError(t, err)
	_, _, err = recorded.Read(t, src)
	assert.ErrorIs(t, err, itch.ErrNoDate)
	_, err = itch.Open([]string{w.file(t, "x")}, itch.Config{Date: 20200230})
	assert.ErrorContains(t, err, "Date must be yyyymmdd")
}

// pcapOf puts MoldUDP64 payloads into a capture.
func pcapOf(t testing.TB, payloads ...[]byte) string {
	le, be := binary.LittleEndian, binary.BigEndian
	b := le.AppendUint32(nil, 0xa1b23c4d)
	b = append(b, make([]byte, 16)...)
	b = le.AppendUint32(b, 1)
	for _, p := range payloads {
		frame := make([]byte, 42)
		be.PutUint16(frame[12:], 0x0800)
		frame[14], frame[23] = 0x45, 17
		be.PutUint16(frame[16:], uint16(28+len(p)))
		be.PutUint16(frame[38:], uint16(8+len(p)))
		b = le.AppendUint32(b, 1692711000)
		b = le.AppendUint32(b, 1)
		b = le.AppendUint32(b, uint32(42+len(p)))
		b = le.AppendUint32(b, uint32(42+len(p)))
		b = append(append(b, frame...), p...)
	}
	return writer(b).file(t, "x.pcap")
}

func moldOf(session string, first uint64, count int, messages writer) []byte {
	b := append([]byte(session), make([]byte, 10)...)
	binary.BigEndian.PutUint64(b[10:], first)
	binary.BigEndian.PutUint16(b[18:], uint16(count))
	return append(b, messages...)
}

// Missing numbers are a gap, repeated numbers are left out, a new session is a reset, and number 0 is not a
// number.
func TestNumberingFindsGapsAndRepeats(t *testing.T) {
	const a, b = "0000000001", "0000000002"
	one := func(ref uint64) writer { var w writer; return *w.add(1, ref, 'B', 1, 50) }
	ticks, _, stats := read(t, itch.Config{}, pcapOf(t,
		moldOf(a, 1, 1, one(1)),
		moldOf(a, 1, 2, append(one(1), one(2)...)), // 1 again
		moldOf(a, 5, 1, one(5)),                    // 3 and 4 are missing
		moldOf(a, 6, 0, nil),                       // heartbeat
		moldOf(a, 6, 0xffff, nil),                  // end of session
		moldOf(b, 1, 1, one(6)),
		moldOf(strings.Repeat("\x00", 10), 0, 1, one(7)),
		[]byte("something else"),
	))
	assert.Len(t, recorded.Only(ticks, feed.KindLevel), 5)
	assert.EqualValues(t, 1, stats.Gaps)
	assert.EqualValues(t, 2, stats.Missing)
	assert.EqualValues(t, 1, stats.Duplicates)
	assert.EqualValues(t, 1, stats.Resets)
	assert.EqualValues(t, 1, stats.Foreign)
	assert.Equal(t, `gap: messages 3 to 4 of session "0000000001" are missing`, stats.Notes[0])
}

// Damage is an error with its offset; a bad message is skipped by its length.
func TestDamageHasItsOffset(t *testing.T) {
	var w writer
	w.add(1, 1, 'B', 1, 50)
	w.message('A', 1, 2, nil, 30) // too short for an A
	w.add(3, 2, 'B', 1, 51)
	torn := append(append(writer{}, w...), 0, 36, 'A')
	for _, c := range []struct {
		name           string
		skip, levels   int
		fails          bool
		offset, passed int64
	}{
		{"bad message", 0, 1, true, 38, 0},
		{"bad message passed over", 1, 2, true, 38 + 32 + 38, 1},
		{"torn tail passed over", 2, 2, false, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, err := itch.Open([]string{torn.file(t, "x")}, itch.Config{Date: 20200130, SkipBad: c.skip})
			require.NoError(t, err)
			ticks, _, err := recorded.Read(t, src)
			assert.Len(t, recorded.Only(ticks, feed.KindLevel), c.levels)
			assert.Equal(t, c.passed, src.Stats().Skipped)
			var damage *rawfile.DamageError
			if c.fails {
				require.ErrorAs(t, err, &damage)
				assert.Equal(t, c.offset, damage.Offset)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

func FuzzSource(f *testing.F) {
	var w writer
	w.event(1, 'O').add(1, 10, 'B', 100, 50).add(2, 11, 'S', 200, 52).order('E', 4, 10, 31, 40, 901).
		order('U', 6, 11, 35, 13, 70, 51).order('D', 9, 10, 19).order('C', 7, 13, 36, 20, 902, 'Y', 49)
	f.Add([]byte(w))
	b, err := os.ReadFile(pcapOf(f, moldOf("0000000001", 1, 1, *new(writer).add(1, 1, 'S', 1, 50))))
	require.NoError(f, err)
	f.Add(b)
	path := filepath.Join(f.TempDir(), "fuzz.itch")
	f.Fuzz(func(t *testing.T, b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o600))
		itch.Recognise(b)
		src, err := itch.Open([]string{path}, itch.Config{Date: 20200130, SkipBad: 100})
		require.NoError(t, err)
		recorded.Read(t, src)
	})
}

// BenchmarkSource reads a day of 3 million messages made here: 200 instruments, 45 % adds,
// 45 % deletes, replaces, executions; some 100,000 orders live at a time.
func BenchmarkSource(b *testing.B) {
	path := made(b, 3_000_000)
	for _, c := range []struct {
		name string
		cfg  itch.Config
	}{{"levels and quotes", itch.Config{Date: 20200130}}, {"quotes only", itch.Config{Date: 20200130, QuotesOnly: true}}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			messages := int64(0)
			for b.Loop() {
				src, err := itch.Open([]string{path}, c.cfg)
				require.NoError(b, err)
				_, err = recorded.Drain(src)
				require.NoError(b, err)
				messages += src.Stats().Messages
			}
			b.ReportMetric(float64(messages)/b.Elapsed().Seconds()/1e6, "M/s")
		})
	}
}
