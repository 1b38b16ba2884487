package files_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/recorded"
)

const quotes = "ts_event,symbol,bid,ask\n2026-03-02T14:30:00Z,AAPL,101.25,101.5\n2026-03-02T14:30:01Z,MSFT,400,400.5\n"

func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func zipped(t testing.TB, member, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	f, err := w.Create(member)
	require.NoError(t, err)
	_, err = io.WriteString(f, content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// capture returns a pcap with one packet of UDP over IPv4.
func capture(payload []byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = le.AppendUint32(b, 65535)
	b = le.AppendUint32(b, 1)
	packet := append(make([]byte, 12), 8, 0, 0x45, 0)
	packet = binary.BigEndian.AppendUint16(packet, uint16(28+len(payload)))
	packet = append(packet, 0, 0, 0, 0, 9, 17, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2)
	packet = binary.BigEndian.AppendUint16(packet, uint16(8+len(payload)))
	packet = append(append(packet, 0, 0), payload...)
	b = append(b, 1, 2, 3, 4, 5, 6, 7, 8)
	b = le.AppendUint32(b, uint32(len(packet)))
	b = le.AppendUint32(b, uint32(len(packet)))
	return append(b, packet...)
}

// A file's format is detected from its content, whatever its name and packing.
// The error for a file of unknown format describes the file.
func TestRecogniseGoesByContent(t *testing.T) {
	dbnFile, err := os.ReadFile(filepath.Join("dbn", "testdata", "test_data.trades.v1.dbn.zst"))
	require.NoError(t, err)
	itchMessage := append([]byte{0, 12, 'S', 0, 0, 0, 0}, 1, 2, 3, 4, 5, 6, 'O')
	iexSegment := make([]byte, 40)
	iexSegment[0] = 1
	binary.LittleEndian.PutUint16(iexSegment[2:], 0x8003)
	iexLater := bytes.Clone(iexSegment)
	binary.LittleEndian.PutUint64(iexLater[16:], 1<<20) // of the stream were sent before
	iexOther := bytes.Clone(iexSegment)
	binary.LittleEndian.PutUint16(iexOther[2:], 0x8002)
	sbe := append([]byte("\x00\x00\x00\x17\x8b\x1e\x9c\x55\x00\x01"), 0, 0, 0, 0, 0, 0, 0, 7, 0, 1)            // MoldUDP64 of other messages
	chance := append(bytes.Clone(sbe), 0, 12, 'S', 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // of such a length, at no time of day
	wireless := capture([]byte("hello"))
	wireless[20] = 127
	mold := append([]byte("SESSION   "), 0, 0, 0, 0, 0, 0, 0, 1, 0, 1)
	mold = append(mold, itchMessage...)
	for _, c := range []struct {
		name    string
		content []byte
		want    files.Format
		reason  string
	}{
		{"csv", []byte(quotes), files.CSV, ""},
		{"csv, packed", gzipped([]byte(quotes)), files.CSV, ""},
		{"csv after a mark and blanks", []byte("\xef\xbb\xbf\n\n" + quotes), files.CSV, ""},
		{"ndjson", []byte(`{"symbol":"A","price":1}`), files.NDJSON, ""},
		{"json array", []byte(`[{"symbol":"A"}]`), files.CSV, ""}, // its importer says what to do
		{"dbn, packed", dbnFile, files.DBN, ""},
		{"itch", itchMessage, files.ITCH, ""},
		{"itch without lengths", bytes.Repeat(itchMessage[2:], 3), "", "is ITCH 5.0 with its messages without their lengths; only BinaryFILE, with a length before each"},
		{"itch in packets of SoupBinTCP", bytes.Repeat(append([]byte{0, 13, 'S'}, itchMessage[2:]...), 3), "", "is ITCH 5.0 with its messages in packets of SoupBinTCP"},
		{"text like messages", []byte(strings.Repeat("SYMBOL,TIME,PRICE\n", 9)), files.CSV, ""},
		{"itch, captured", capture(mold), files.ITCH, ""},
		{"iex, captured", capture(iexSegment), files.IEX, ""},
		{"lobster messages", []byte("34200.017459617,5,0,1,2238200,-1\n"), files.LOBSTER, ""},
		{"lobster order book", []byte("2239500,100,2231800,100\n"), files.LOBSTER, ""},
		{"websocket", []byte(`1723161255088176367 {"stream":"btcusdt@trade","data":{"e":"trade"}}` + "\n"), files.Websocket, ""},
		{"lean", zipped(t, "20140507_eurusd_tick_quote.csv", "1014,1.39248,1.39250\n"), files.LEAN, ""},
		{"empty", nil, "", "is empty"},
		{"empty, packed", gzipped(nil), "", "is empty once it is unpacked"},
		{"blank", []byte(" \n\n"), "", "is blank"},
		{"torn gzip", gzipped([]byte(quotes))[:5], "", "cannot be unpacked: the compressed file is cut off"},
		{"torn gzip, after its header", gzipped([]byte(quotes))[:10], "", "cannot be unpacked: the compressed file is cut off"},
		{"torn zstd", []byte("\x28\xb5\x2f\xfd\x04\x58"), "", "cannot be unpacked: the compressed file is cut off"},
		{"packed twice", gzipped(gzipped([]byte(quotes))), "", "packed with gzip twice"},
		{"another capture", capture([]byte("hello")), "", "is a capture, but none of ITCH 5.0"},
		{"iex, captured later in the day", capture(iexLater), files.IEX, ""},
		{"iex, another protocol", capture(iexOther), "", "is a capture of IEX TOPS 1.5 with message protocol 0x8002; only TOPS 1.6 (0x8003) and DEEP 1.0 (0x8004) can be read: download the day as one of these, if IEX has it"},
		{"zeros", capture(append(sbe, make([]byte, 20)...)), "", "is a capture, but none of ITCH 5.0"},
		{"MoldUDP64 of other messages", capture(chance), "", "its first UDP packet goes to 5.6.7.8:2"},
		{"a link type that is not read", wireless, "", "its packets are of link type 127 (IEEE 802.11, radiotap), which cannot be read"},
		{"zeros as a DBN fragment", append([]byte{12}, make([]byte, 200)...), "", "is a binary file of unknown format"},
		{"lean, of shares", zipped(t, "20131007_spy_tick_trade.csv", "1014,1.39248\n"), "", "is a LEAN zip with 20131007_spy_tick_trade.csv; of LEAN's zips only"},
		{"lean, of futures", zipped(t, "20131007_es_minute_quote_201312.csv", "1014,1.39248\n"), "", "is a LEAN zip with"},
		{"excel", zipped(t, "[Content_Types].xml", "<Types/>"), "", "is a workbook of Excel, or another document of Office; save its table as CSV"},
		{"another zip", zipped(t, "a.txt", "a"), "", "is a zip, but not one of LEAN's"},
		{"parquet", []byte("PAR1\x15\x00\x15"), files.Parquet, ""},
		{"utf-16", []byte("\xff\xfet\x00s\x00"), "", "is UTF-16 text; convert it to UTF-8"},
		{"tar", tarred(t, "a.csv", quotes), "", "is a tar archive; unpack it and name its files; the known formats"},
		{"tar, packed", gzipped(tarred(t, "a.csv", quotes)), "", "is a tar archive"},
		{"a private key", []byte("\n-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n"), "", "is PEM, such as a certificate or a private key, not market data"},
		{"rar", []byte("Rar!\x1a\x07\x01\x00"), "", "is a RAR archive"},
		{"compress", []byte("\x1f\x9d\x90\x00"), "", "is packed with compress"},
		{"snappy", []byte("\xff\x06\x00\x00sNaPpY"), "", "is packed with snappy"},
		{"numpy", []byte("\x93NUMPY\x01\x00"), "", "is a NumPy file"},
		{"orc", []byte("ORC\x00"), "", "is an ORC file"},
		{"text that begins like ORC", []byte("ORCL,time,price\n"), files.CSV, ""},
		{"a page", []byte("\n<!DOCTYPE html><html></html>\n"), "", "is HTML or XML"},
		{"columns in brackets", []byte("<DATE>\t<TIME>\t<BID>\n"), files.CSV, ""},
		{"encrypted zip", encrypted(zipped(t, "a.csv", quotes)), "", `is a zip whose file "a.csv" cannot be opened: it is encrypted; unpack it with its password`},
		{"encrypted zip of LEAN", encrypted(zipped(t, "20140507_eurusd_tick_quote.csv", "1014,1.39248,1.39250\n")), files.LEAN, ""}, // its importer says so
		{"binary", []byte("\x01\x02\x00\x03"), "", "is a binary file of unknown format; the known formats are csv, ndjson, parquet, dbn"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, "file", c.content)
			got, err := files.Recognise(path)
			assert.Equal(t, c.want, got)
			if c.reason == "" {
				require.NoError(t, err)
				return
			}
			var format *rawfile.FormatError
			require.ErrorAs(t, err, &format)
			assert.Equal(t, path, format.File)
			assert.Contains(t, format.Reason, c.reason)
			assert.True(t, files.Damaged(err))
			assert.False(t, files.Skippable(err))
			_, err = files.Open([]string{path}, nil, files.Config{})
			assert.EqualError(t, err, format.Error())
		})
	}
}

func tarred(t *testing.T, name, text string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o600}))
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// encrypted is a zip with one file, marked as encrypted.
func encrypted(zip []byte) []byte {
	zip[6] |= 1
	zip[bytes.Index(zip, []byte("PK\x01\x02"))+8] |= 1
	return zip
}

// Files that are opened together must have the same format, except that CSV and NDJSON may be mixed.
func TestOpenRefusesMixedFormats(t *testing.T) {
	csv, ndjson := write(t, "a", []byte(quotes)), write(t, "b", []byte(`{"ts":1772461800,"symbol":"IBM","price":7}`))
	lobster := write(t, "c", []byte("34200.017459617,5,0,1,2238200,-1\n"))
	dir := t.TempDir()
	for _, c := range []struct {
		name  string
		paths []string
		cfg   files.Config
		want  string
	}{
		{"of two formats", []string{csv, lobster}, files.Config{}, "is lobster, but " + csv + " is csv"},
		{"no such file", []string{csv, "no-such-file"}, files.Config{}, "no-such-file"},
		{"a directory", []string{dir}, files.Config{}, "is a directory; name its files"},
		{"an unknown format", []string{csv}, files.Config{Format: "xls"}, `there is no format "xls", only csv, ndjson`},
		{"a bad zone", []string{csv}, files.Config{Zone: "Nowhere"}, `"Nowhere" is neither`},
		{"no names", []string{lobster}, files.Config{}, "LOBSTER"},
		{"standard input as one of a pair", []string{"-"}, files.Config{Format: files.LOBSTER}, "put it into a file"},
		{"nothing", nil, files.Config{}, "no file to read"},
		{"another format stated", []string{csv}, files.Config{Format: files.LEAN}, "it is not a zip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := files.Open(c.paths, strings.NewReader(""), c.cfg)
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
		})
	}

	src, err := files.Open([]string{csv, ndjson, "-"}, strings.NewReader(quotes), files.Config{Venue: "X"})
	require.NoError(t, err)
	assert.True(t, src.Format().Text())
	assert.Equal(t, "row", src.Noun())
	ticks, state := recorded.ReadAll(t, src)
	assert.Len(t, ticks, 8)
	assert.Equal(t, 3, state.Len())
	assert.Equal(t, "X", ticks[0].Definition().Venue)
	st := src.Stats()
	assert.Equal(t, files.Stats{Messages: 5, Ticks: 8}, st)
	size := int64(len(quotes)) + int64(len(`{"ts":1772461800,"symbol":"IBM","price":7}`))
	assert.Equal(t, size, src.Size())
	assert.Equal(t, size+int64(len(quotes)), src.Read(), "with standard input")
}

// Damaged distinguishes bad content of a file from failed access to it, and Skippable the errors that a
// greater SkipBad skips from others.
func TestErrorsAreDamageOrSkippable(t *testing.T) {
	for _, c := range []struct {
		name                string
		content             string
		damaged, passedOver bool
	}{
		{"a bad line", quotes + "x,AAPL,1,2\n", true, true},
		{"a header of something else", "a,b\n1,2\n", true, false},
		{"a local time", "ts,symbol,price\n2026-03-02 09:30:00,A,1\n", true, false},
		{"torn", string(gzipped([]byte(strings.Repeat(quotes, 2000)))[:400]), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, err := files.Open([]string{write(t, "a.csv", []byte(c.content))}, nil, files.Config{})
			require.NoError(t, err)
			_, err = recorded.Drain(src)
			require.Error(t, err)
			assert.Equal(t, c.damaged, files.Damaged(err), err)
			assert.Equal(t, c.passedOver, files.Skippable(err), err)
		})
	}
	twice := write(t, "a.csv", []byte(quotes))
	_, err := files.Open([]string{twice, filepath.Join(filepath.Dir(twice), ".", "a.csv")}, nil, files.Config{})
	assert.ErrorContains(t, err, "a.csv is named twice")

	assert.False(t, files.Damaged(os.ErrNotExist))
	assert.False(t, files.Skippable(os.ErrNotExist))

	src, err := files.Open([]string{write(t, "a.csv", []byte(quotes+"x,AAPL,1,2\n"))}, nil, files.Config{SkipBad: 1})
	require.NoError(t, err)
	_, err = recorded.Drain(src)
	require.NoError(t, err)
	st := src.Stats()
	assert.Equal(t, int64(1), st.Skipped)
	assert.Equal(t, int64(3), st.Messages)
	var line *textfile.LineError
	require.ErrorAs(t, st.FirstBad, &line)
	assert.Equal(t, int64(4), line.Line)
}

// A list is a source of ticks that returns two at a time.
type list struct {
	ticks []feed.Tick
	err   error
}

func (l *list) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	n := copy(batch[:min(2, len(batch))], l.ticks)
	if l.ticks = l.ticks[n:]; len(l.ticks) > 0 {
		return n, nil
	}
	return n, l.err
}

func (l *list) Close() error { return nil }

func define(id feed.InstrumentID, symbol string) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: symbol}}}
}

func trade(id feed.InstrumentID, n int64, more bool) feed.Tick {
	t := feed.Trade{Price: n, Size: 1}.Tick(id, n)
	if more {
		t.Flags = feed.FlagMore
	}
	return t
}

// A selection leaves out unwanted instruments and their ticks, numbers the others densely, and ends an event that loses its
// last tick with the last one left.
func TestSelectKeepsEventsWhole(t *testing.T) {
	given := []feed.Tick{
		define(0, "A"), define(1, "B"), define(2, "C"),
		trade(0, 1, false), trade(1, 2, false), trade(2, 3, false),
		trade(2, 4, true), trade(1, 5, true), trade(2, 6, false), // an event of C
		trade(2, 7, true), trade(1, 8, true), trade(0, 9, false), // one that ends with others
		define(1, "B"), define(2, "C"),
		trade(2, 10, true), trade(1, 11, true), // the last event is cut off
	}
	for _, batch := range []int{1, 2, 3, 100} {
		src := files.Select(&list{given, errors.New("over")}, func(d *feed.Definition) bool { return d.Symbol == "C" })
		var got []feed.Tick
		buf := make([]feed.Tick, batch)
		var err error
		for err == nil {
			var n int
			n, err = src.Next(t.Context(), buf)
			got = append(got, buf[:n]...)
		}
		require.EqualError(t, err, "over")
		var told []string
		for _, tick := range got {
			require.Equal(t, feed.InstrumentID(0), tick.Instrument)
			if tick.Kind == feed.KindDefinition {
				told = append(told, tick.Definition().Symbol)
				continue
			}
			text := string(rune('0' + tick.EventTime))
			if tick.EventTime == 10 {
				text = "10"
			}
			if tick.Flags&feed.FlagMore != 0 {
				text += "+"
			}
			told = append(told, text)
		}
		require.Equal(t, []string{"C", "3", "4+", "6", "7", "C", "10"}, told, "batches of %d", batch)
	}

	src := files.Select(&list{given, io.EOF}, func(*feed.Definition) bool { return false })
	n, err := recorded.Drain(src)
	require.NoError(t, err)
	assert.Zero(t, n)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	src = files.Select(&list{given, io.EOF}, func(*feed.Definition) bool { return true })
	_, err = src.Next(ctx, make([]feed.Tick, 1))
	require.ErrorIs(t, err, context.Canceled)
	n, err = recorded.Drain(src)
	require.NoError(t, err)
	assert.Len(t, given, n, "it goes on after that")
}

// A file with any beginning is recognised, or refused with a reason.
func FuzzRecogniseHead(f *testing.F) {
	f.Add([]byte(quotes))
	f.Add(capture([]byte("hello")))
	f.Add([]byte("PK\x03\x04"))
	f.Add([]byte{0xef, 0xbb, 0xbf})
	f.Fuzz(func(t *testing.T, head []byte) {
		format, reason := files.RecogniseHead(head)
		if (format == "") == (reason == "") {
			t.Fatalf("format %q, reason %q", format, reason)
		}
	})
}

// The comment of Format and the table of formats describe each format.
func TestEachFormatIsDescribed(t *testing.T) {
	comment, err := os.ReadFile("formats.go")
	require.NoError(t, err)
	for _, f := range files.Formats() {
		assert.Regexp(t, `(?m)^//\t`+string(f)+` {2,}`, string(comment), f)
		assert.NotEmpty(t, f.Title(), f)
		assert.Equal(t, f.Text(), f.Content() == "", f)
	}
}
