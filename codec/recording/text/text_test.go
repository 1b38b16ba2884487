package text

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

func textOf(t testing.TB, file []byte) string {
	t.Helper()
	var b strings.Builder
	_, err := Write(&b, bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	return b.String()
}

func fileOf(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, Read(&b, strings.NewReader(text)))
	return b.Bytes()
}

func lines(s string) []string { return strings.Split(s, "\n") }

// The session in testdata is a recording without damage, and its text is reproduced, except for comments and
// blank lines.
func TestByHand(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "session.txt"))
	require.NoError(t, err)
	require.True(t, Recognise(b))
	file := fileOf(t, string(b))
	r, err := recording.NewReader(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	for {
		item, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.Less(t, item.Kind, recording.KindDamage)
	}
	require.True(t, r.Closed())
	require.Equal(t, uint64(5043), r.NextSeq())
	var want []string
	for _, l := range lines(string(b)) {
		if l != "" && !strings.HasPrefix(l, "#") {
			want = append(want, l)
		}
	}
	assert.Equal(t, append(want, ""), lines(textOf(t, file)))
}

// A memory is a File.
type memory struct{ bytes.Buffer }

func (*memory) Sync() error  { return nil }
func (*memory) Close() error { return nil }

// The output of a Writer becomes text without raw bytes, and is reproduced byte for byte: several sessions,
// snapshots, filters, marks each MiB, closed or not.
func TestWritersFile(t *testing.T) {
	var f memory
	id := feed.SessionID(0xa1)
	h := codec.FileHeader{Lineage: feed.Lineage{{ID: id, First: 1}}, Seed: codec.LineSeed(id, nil), Next: 1, Source: "é\u2028x", Created: 12}
	w, err := recording.NewWriter(&f, h, nil)
	require.NoError(t, err)
	state := feed.NewState()
	next := uint64(1)
	packets := func(n int) {
		for range n {
			var body []byte
			p := codec.Packet{First: next, Count: 0, PublishTime: int64(next) * 1e6, Base: int64(next) * 1e6}
			for p.Count < 1000 {
				i := feed.InstrumentID(next % 40)
				tick := feed.Quote{Bid: int64(next), BidSize: 1, Ask: int64(next) + 1, AskSize: 2}.Tick(i, p.Base+int64(next%7))
				if next <= 40 {
					tick = feed.Tick{Kind: feed.KindDefinition, Instrument: i, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: fmt.Sprintf("S%d", i), PriceExponent: -3}}}
				}
				require.NoError(t, state.Apply(&tick))
				body = codec.AppendTick(body, &tick, p.Base)
				p.Count++
				next++
			}
			require.NoError(t, w.Append(codec.AppendPacket(nil, &p, body, h.Seed), next, p.PublishTime))
		}
	}
	packets(60)
	h.Lineage, h.Seed, h.Next = h.Lineage.Child(0xa2, next), codec.LineSeed(0xa2, nil), next
	require.NoError(t, w.Continue(h, state))
	packets(60)
	open := bytes.Clone(f.Bytes())
	require.NoError(t, w.Close())
	for name, file := range map[string][]byte{"closed": f.Bytes(), "not closed": open} {
		text := textOf(t, file)
		assert.False(t, strings.Contains(text, "raw"), name)
		assert.False(t, strings.Contains(text, "bytes"), name)
		assert.True(t, strings.Contains(text, "\nmark\n"), name)
		assert.True(t, bytes.Equal(file, fileOf(t, text)), name)
	}
	example, err := os.ReadFile(filepath.Join("..", "testdata", "example.tick"))
	require.NoError(t, err)
	text := textOf(t, example)
	assert.True(t, bytes.Equal(example, fileOf(t, text)))
	assert.False(t, strings.Contains(text, "raw"))
	assert.False(t, strings.Contains(text, "bytes"))
}

// A damaged recording becomes text, is reproduced byte for byte, and its damages are counted.
func TestDamagedRecordingIsReproduced(t *testing.T) {
	example, err := os.ReadFile(filepath.Join("..", "testdata", "example.tick"))
	require.NoError(t, err)
	for i := 0; i < len(example); i += 5 {
		file := bytes.Clone(example)
		file[i] ^= 0x10
		var b strings.Builder
		damages, err := Write(&b, bytes.NewReader(file), int64(len(file)))
		require.NoError(t, err)
		require.Positive(t, damages, "byte %d", i)
		require.True(t, bytes.Equal(file, fileOf(t, b.String())), "byte %d", i)
	}
	for i := 200; i < len(example); i += 31 {
		require.True(t, bytes.Equal(example[:i], fileOf(t, textOf(t, example[:i]))), "cut at %d", i)
		file := append(bytes.Clone(example[:100]), example[i:]...)
		require.True(t, bytes.Equal(file, fileOf(t, textOf(t, file))), "cut out up to %d", i)
	}
}

// An error names its line.
func TestWrongTextNamesItsLine(t *testing.T) {
	head := magic + "\nsession lineage=a1:1\npacket 5\n  define #0 symbol=AAPL price=-2\n  define #1 symbol=B venue=X\n  define #2 symbol=B venue=Y\n"
	for text, want := range map[string]string{
		"":                                 "line 1: the text ends before a session line",
		"time,price\n":                     "line 1: want \"tickfeed-text 1\"",
		magic + "\n":                       "line 1: the text ends before a session line",
		magic + "\npacket 5":               "line 2: packet: a session line must come first",
		magic + "\nsession":                "line 2: session: lineage=ID:FIRST is missing",
		magic + "\nsession lineage=0:1":    "no id",
		magic + "\nsession lineage=a1:1,b": "want ID:FIRST",
		magic + "\nsession lineage=a1:1 mode=dead":                                    "want one of live simulation replay",
		magic + "\nsession lineage=a1:1 colour=blue":                                  "colour= does not belong here",
		magic + "\nsession lineage=a1:1\npacket 5\nclosed":                            "line 4: the packet before this line covers 0 numbers",
		magic + "\nsession lineage=a1:1\nclosed\npacket 5":                            "line 4: packet: nothing but bytes can follow closed",
		magic + "\nsession lineage=a1:1\n  quote #0 1 1 1 1":                          `line 3: "quote" is not the beginning of a line here`,
		magic + "\nsession lineage=a1:1\npacket noon\n":                               "is not a time such as",
		magic + "\nsession lineage=a1:1\npacket 3000-01-01T00:00:00Z":                 "beyond what 64 bits",
		magic + "\nsession lineage=a1:1\npacket 5\n  summary #0":                      "summary: stands in snapshots only",
		magic + "\nsession lineage=a1:1\npacket 5\n  skip 0":                          "skip: want how many numbers",
		magic + "\nsession lineage=a1:1\npacket 5\n  skip 1\n  gone 5 expired":        "must be all of their packet",
		magic + "\nsession lineage=a1:1\npacket 5\n  withheld 5\n  skip 1":            "must be all of their packet",
		magic + "\nsession lineage=a1:1\npacket 5\n  gone 5 0":                        "the reason of gone numbers is 1 to 255",
		magic + "\nsession lineage=a1:1\npacket 5\n  gone 5 forgotten":                "want one of expired damaged",
		magic + "\nsession lineage=a1:1\npacket 5\n  skip 4611686018427387905":        "want how many numbers",
		magic + "\nsession lineage=a1:1 next=9223372036854775808\npacket 5\n  skip 9": "covers 9 numbers from 9223372036854775808",
		head + "  quote MSFT 1 1 1 1":                                                 "line 7: quote: no instrument is called MSFT here",
		head + "  quote B 1 1 1 1":                                                    "several instruments are called B here",
		head + "  quote AAPL 1.234 1 2 1":                                             `price "1.234" with exponent -2: the number has more decimals than its unit`,
		head + "  quote AAPL 1 1 2":                                                   "quote: a size is missing",
		head + "  quote AAPL 1 -1 2 1":                                                "size -1 is out of bounds",
		head + "  quote AAPL 1 1 2 1 3":                                               `"3" is too much`,
		head + "  quote #16777216 1 1 2 1":                                            "want # and a number below 16777216",
		head + "  trade AAPL 1 1 up":                                                  `"up" is too much, or not where it belongs`,
		head + "  trade AAPL 1 1 cond=123456789":                                      "at most 8 characters",
		head + "  cancel AAPL 1 1 buy":                                                "a cancel has no side",
		head + "  level AAPL both 1 1":                                                "want one of bid ask",
		head + "  define #3 symbol=\"C":                                               "a quote does not end",
		head + "  raw 1 xyz":                                                          "want pairs of hexadecimal digits",
		head + "  raw 1 " + strings.Repeat("00", 70000):                               "the body has more than 65535 bytes",
		magic + "\n" + strings.Repeat("x", maxLine+1):                                 "line 2: longer than 1048576 bytes",
	} {
		err := Read(io.Discard, strings.NewReader(text))
		var line *LineError
		if assert.ErrorAs(t, err, &line, text) {
			assert.ErrorContains(t, err, want, text)
		}
	}
}

type broken struct{ error }

func (b broken) Write([]byte) (int, error) { return 0, b.error }

// Errors of the reader and of the writer are returned unchanged.
func TestFailuresAreReturnedUnchanged(t *testing.T) {
	full := errors.New("full")
	b, err := os.ReadFile(filepath.Join("testdata", "session.txt"))
	require.NoError(t, err)
	file := fileOf(t, string(b))
	assert.Equal(t, full, Read(broken{full}, bytes.NewReader(b)))
	_, err = Write(broken{full}, bytes.NewReader(file), int64(len(file)))
	assert.Equal(t, full, err)
	_, err = Write(io.Discard, strings.NewReader("hello"), 5)
	assert.ErrorIs(t, err, recording.ErrNoHeader)
	assert.False(t, Recognise([]byte("time,price")))
}

// FuzzWrite: the text of any recording, whatever its bytes, reproduces it.
func FuzzWrite(f *testing.F) {
	for _, name := range []string{filepath.Join("..", "testdata", "example.tick")} {
		b, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(b)
		f.Add(b[:2000])
	}
	b, err := os.ReadFile(filepath.Join("testdata", "session.txt"))
	require.NoError(f, err)
	f.Add(fileOf(f, string(b)))
	f.Fuzz(func(t *testing.T, file []byte) {
		// Fuzz the packets rather than their checksums: seal them again.
		reseal(file)
		var b strings.Builder
		if _, err := Write(&b, bytes.NewReader(file), int64(len(file))); err != nil {
			return
		}
		again := fileOf(t, b.String())
		if !bytes.Equal(file, again) {
			t.Fatalf("%d bytes come back as %d others:\n%s", len(file), len(again), b.String())
		}
	})
}

// reseal gives each packet of file a valid checksum for the first session.
func reseal(file []byte) {
	r, err := recording.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return
	}
	for i := range file {
		if n := codec.PacketSize(file[i:]); n > 0 && n <= len(file)-i {
			h := codec.PacketAt(file[i:])
			codec.SealPacket(file[i:i+n], &h, r.Header().Seed)
		}
	}
}

// FuzzRead: any text that parses makes a recording whose text makes that recording again and is in canonical
// form.
func FuzzRead(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "session.txt"))
	require.NoError(f, err)
	f.Add(string(b))
	for _, l := range lines(string(b)) {
		f.Add(magic + "\nsession lineage=a1:1\npacket 5\n define #0 symbol=AAPL price=-2\n" + l)
		f.Add(magic + "\nsession lineage=a1:7 next=7\nsnapshot\npart 5\n define #0 symbol=AAPL price=-2\n" + l + "\nend\nclosed")
	}
	f.Fuzz(func(t *testing.T, text string) {
		var file bytes.Buffer
		if err := Read(&file, strings.NewReader(text)); err != nil {
			return
		}
		var canonical strings.Builder
		if _, err := Write(&canonical, bytes.NewReader(file.Bytes()), int64(file.Len())); err != nil {
			if errors.Is(err, recording.ErrNoHeader) {
				return // its header was given by other bytes
			}
			t.Fatal(err)
		}
		again := fileOf(t, canonical.String())
		if !bytes.Equal(file.Bytes(), again) {
			t.Fatalf("%d bytes come back as %d others:\n%s", file.Len(), len(again), canonical.String())
		}
		if once := textOf(t, again); once != canonical.String() {
			t.Fatalf("the canonical form is not its own:\n%s\n%s", canonical.String(), once)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	file, err := os.ReadFile(filepath.Join("..", "testdata", "example.tick"))
	require.NoError(b, err)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := Write(io.Discard, bytes.NewReader(file), int64(len(file))); err != nil {
			b.Fatal(err)
		}
	}
}

// A status with its reason and expected end, and an auction, are text and come back byte for byte.
func TestStatusesAndAuctions(t *testing.T) {
	id := feed.SessionID(0xa1)
	h := codec.FileHeader{Lineage: feed.Lineage{{ID: id, First: 1}}, Seed: codec.LineSeed(id, nil), Next: 1}
	var f memory
	w, err := recording.NewWriter(&f, h, nil)
	require.NoError(t, err)
	base := int64(1e18)
	ticks := []feed.Tick{
		{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "A", PriceExponent: -2}}},
		feed.StatusTick(0, base, feed.StatusHalted, 20260106).Because("LUDP", base+300),
		feed.StatusTick(0, base, feed.StatusHalted, 0).Because("a reason = of \"words\"", 0),
		feed.StatusTick(0, base+1, feed.StatusTrading, 0).Because("", base-5),
		feed.Auction{Kind: feed.AuctionClosing, Price: 18725, Size: 70_000, Side: feed.SideSell, Imbalance: 1200, Time: base + 60}.Tick(0, base+2),
		feed.Auction{Kind: 99, Price: feed.NoPrice}.Tick(0, base+3),
	}
	var body []byte
	for i := range ticks {
		require.NoError(t, codec.ValidateTick(&ticks[i]))
		body = codec.AppendTick(body, &ticks[i], base)
	}
	require.NoError(t, w.Append(codec.AppendPacket(nil, &codec.Packet{First: 1, Count: uint64(len(ticks)), PublishTime: base, Base: base}, body, h.Seed), 7, base))
	require.NoError(t, w.Close())
	text := textOf(t, f.Bytes())
	for _, line := range []string{
		"status A halted day=20260106 reason=LUDP end=+300", `status A halted reason="a reason = of \"words\""`, "status +1 A trading end=-6",
		"auction +2 A closing 187.25 70000 sell imbalance=1200 at=+58", "auction +3 A 99 - 0",
	} {
		assert.Contains(t, text, line)
	}
	assert.True(t, bytes.Equal(f.Bytes(), fileOf(t, text)))
	for line, want := range map[string]string{
		"status A halted reason=": "", "status A halted day=x": "want a number", "status A halted day=99991232": "want a number", "status A halted x=1": "does not belong here", "status A halted end=x": "invalid syntax",
		"auction A closing 1 2 buy": "", "auction A closing 1": "a size is missing", "auction A never 1 2": "never", "auction A closing 1 2 both": "too much", "auction A closing 1 2 x=3": "does not belong here",
	} {
		err := Read(new(memory), strings.NewReader(strings.Replace(text, "auction +3 A 99 - 0", line, 1)))
		if want == "" {
			assert.NoError(t, err, line)
		} else {
			assert.ErrorContains(t, err, want, line)
		}
	}
}
