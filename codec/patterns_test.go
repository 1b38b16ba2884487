package codec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A tableLine reads and writes entries as its line of fixedPatterns says, one field after the other.
type tableLine struct {
	kind   feed.Kind
	fields []fixedField
	size   int
}

func tableLines() (lines []tableLine) {
	for _, p := range fixedPatterns {
		l := tableLine{kind: p.kind}
		l.fields, l.size = fixedFields(p.bytes)
		lines = append(lines, l)
	}
	return lines
}

// marked reports whether entry has the marks of the line. A side is one byte, so it is below 0x80.
func (l *tableLine) marked(entry []byte) bool {
	for _, f := range l.fields {
		switch b := entry[f.at]; {
		case f.letter == 0 && b != f.mark, f.letter == 'k' && b&^1 != byte(l.kind)<<1, f.letter == 's' && b >= 0x80:
			return false
		}
	}
	return true
}

// read returns the tick of an entry that has the marks, and the offset of its time from base.
func (l *tableLine) read(entry []byte, base int64) (t feed.Tick, offset int64) {
	t.Kind = l.kind
	for _, f := range l.fields {
		v := uint64(0)
		for _, b := range entry[f.at : f.at+f.size] {
			v = v<<8 | uint64(b)
		}
		switch f.letter {
		case 'k':
			t.Flags = feed.Flags(v & 1)
		case 'i':
			t.Instrument = feed.InstrumentID(v)
		case 't':
			offset = int64(v) << (64 - 8*f.size) >> (64 - 8*f.size)
			t.EventTime = base + offset
		case 's':
			t.Side = feed.Side(v)
		case 'z':
			t.Values[3] = int64(v << (64 - 8*f.size))
		case 'u', 'v', 'w', 'x':
			t.Values[f.letter-'u'] = int64(v)
		}
	}
	return t, offset
}

// write returns the entry of a tick, with as many bytes of each field as the line has.
func (l *tableLine) write(t *feed.Tick, base int64) []byte {
	entry := make([]byte, l.size)
	for _, f := range l.fields {
		v := uint64(0)
		switch f.letter {
		case 0:
			v = uint64(f.mark)
		case 'k':
			v = uint64(l.kind)<<1 | uint64(t.Flags&feed.FlagMore)
		case 'i':
			v = uint64(t.Instrument)
		case 't':
			v = uint64(t.EventTime - base)
		case 's':
			v = uint64(t.Side)
		case 'z':
			v = uint64(t.Values[3]) >> (64 - 8*f.size)
		default:
			v = uint64(t.Values[f.letter-'u'])
		}
		for i := range f.size {
			entry[f.at+i] = byte(v >> (8 * (f.size - 1 - i)))
		}
	}
	return entry
}

// validFixed reports whether t, whose time is offset after the base of its packet, may be in an entry with a fixed-width pattern.
func validFixed(t *feed.Tick, offset int64) bool {
	return ValidateTick(t) == nil && isNear(offset) && t.Values[0] != feed.NoPrice && (t.Kind != feed.KindQuote || t.Values[2] != feed.NoPrice)
}

// encodeByTable returns what the first line that can represent t makes of it, or nil if none can.
func encodeByTable(lines []tableLine, t *feed.Tick, base int64) []byte {
	for i := range lines {
		if lines[i].kind != t.Kind {
			continue
		}
		entry := lines[i].write(t, base)
		if back, _ := lines[i].read(entry, base); back == *t {
			return entry
		}
	}
	return nil
}

// All code that processes entries with a fixed-width pattern does what the table says, whatever byte stands at each position
// of each pattern, and wherever the body ends: AppendTick, AppendFixed, IsFixed, the decoders, ScanFixed, EntryAt,
// AppendRebased, and the constants that the vector code works with, also on processors that lack its instructions.
// PROTOCOL.md, "Fixed-width patterns".
func TestFixedPatterns(t *testing.T) {
	lines := tableLines()
	sizes := make([]int, len(lines))
	for i := range lines {
		sizes[i] = lines[i].size
	}
	require.Equal(t, []int{narrowQuote, narrowTrade, wideQuote, wideTrade}, sizes)
	require.Equal(t, MaxFixed, slices.Max(sizes))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range lines {
		line := &lines[i]
		t.Run(fmt.Sprintf("%v of %d bytes", line.kind, line.size), func(t *testing.T) {
			counts := map[string]int{}
			example := make([]byte, line.size)
			for {
				for b := range example {
					example[b] = byte(r.Uint32())
				}
				tick, offset := line.read(example, noon)
				tick.EventTime = noon + offset>>4 // the vector code takes times within 2^60 only
				tick.Side = feed.Side(r.IntN(3)) * feed.Side(line.kind-feed.KindQuote)
				if line.kind == feed.KindTrade {
					tick.Values[3] = 'F'<<56 | 'T'<<48 | 'I'<<40
				}
				if example = line.write(&tick, noon); tick.Instrument < feed.MaxInstruments && validFixed(&tick, tick.EventTime-noon) {
					break
				}
			}
			for at := range example {
				for b := range 256 {
					entry := slices.Clone(example)
					entry[at] = byte(b)
					checkEntry(t, lines, i, entry, counts)
					if t.Failed() {
						t.Fatalf("byte %d is %#02x: % x", at, b, entry)
					}
				}
			}
			for cut := range example {
				checkCut(t, example[:cut:cut])
			}
			for _, what := range []string{"marked", "valid", "rebased"} {
				assert.NotZero(t, counts[what], what)
			}
			assert.Equal(t, line.size != narrowQuote, counts["invalid"] > 0, "only a narrow quote is valid whatever its values")
			if vectorTables && i < 4 {
				assert.Greater(t, counts["by vectors"], counts["valid"]*9/10)
			}
		})
	}
}

// same is assert.Equal, and much faster if the values are equal.
func same[T comparable](t *testing.T, want, got T) {
	if want != got {
		t.Helper()
		assert.Equal(t, want, got)
	}
}

// checkEntry checks what is done with an entry of the size of line i that may lack its marks, or have invalid values.
func checkEntry(t *testing.T, lines []tableLine, i int, entry []byte, counts map[string]int) {
	line := &lines[i]
	var (
		ids   [2]feed.InstrumentID
		sizes [2]uint8
		one   [1]feed.Tick
	)
	one[0] = feed.Tick{Seq: 1, Instrument: 9, Flags: 3, Side: 3, Status: 3, Values: [4]int64{-1, -1, -1, -1}, Extra: &feed.Extra{}}
	scanned := ScanFixed(entry, ids[:], sizes[:])
	decoded, size := decodeScalar(entry, one[:], noon, 41)
	if !line.marked(entry) {
		same(t, 0, scanned)
		same(t, 0, decoded)
		_, ok := decodeByVectorTable(i, entry, noon, 41)
		same(t, false, ok)
		return
	}
	counts["marked"]++
	tick, offset := line.read(entry, noon)
	same(t, 1, scanned)
	same(t, line.size, int(sizes[0]))
	same(t, tick.Instrument, ids[0])
	e, err := EntryAt(entry)
	require.NoError(t, err)
	same(t, Entry{Size: line.size, Covers: 1, Tick: true, Kind: line.kind, Instrument: tick.Instrument}, e)

	byVector, accepted := decodeByVectorTable(i, entry, noon, 41)
	if !validFixed(&tick, offset) {
		counts["invalid"]++
		same(t, 0, decoded)
		same(t, false, accepted)
		return
	}
	counts["valid"]++
	numbered := tick
	numbered.Seq = 41
	same(t, 1, decoded)
	same(t, line.size, size)
	same(t, numbered, one[0])
	body := PacketBody(&Packet{First: 41, Count: 1, Base: noon}, entry)
	n, err := body.Decode(one[:])
	require.NoError(t, err)
	same(t, 1, n)
	same(t, numbered, one[0])

	want := encodeByTable(lines, &tick, noon)
	same(t, true, IsFixed(&tick))
	same(t, string(want), string(AppendTick(nil, &tick, noon)))
	fixed, n, latest := appendScalar(make([]byte, 0, MaxEntry), []feed.Tick{tick}, noon, math.MinInt64)
	same(t, 1, n)
	same(t, tick.EventTime, latest)
	same(t, string(want), string(fixed))

	if accepted {
		counts["by vectors"]++
		same(t, numbered, byVector)
		again, ok := encodeByVectorTable(i, &tick, noon)
		same(t, true, ok)
		same(t, string(entry), string(again))
	}

	for _, delta := range []int64{1, -1000, 1 << 33} {
		moved := line.write(&tick, noon-delta)
		rebased, ok := AppendRebased(make([]byte, 0, 2*MaxEntry), 0, entry, delta)
		if back, _ := line.read(moved, noon-delta); back != tick {
			same(t, false, ok)
			continue
		}
		counts["rebased"]++
		same(t, true, ok)
		same(t, string(moved), string(rebased))
	}
}

// checkCut checks that an entry that is cut short is left alone.
func checkCut(t *testing.T, entry []byte) {
	var (
		ids   [1]feed.InstrumentID
		sizes [1]uint8
		one   [1]feed.Tick
	)
	assert.Zero(t, ScanFixed(entry, ids[:], sizes[:]))
	n, size := decodeFixed(entry, one[:], noon, 41)
	assert.Zero(t, n+size)
	_, err := EntryAt(entry)
	assert.ErrorIs(t, err, ErrMalformed)
}
