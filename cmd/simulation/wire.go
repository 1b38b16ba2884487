package simulation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"tickfeed/feed"
)

// This file reads the protocol by codec/PROTOCOL.md alone, because package codec is under examination.

// These are the types of messages and the kinds of entries that the exam knows.
const (
	typeHello         = 1
	typeWelcome       = 2
	typeRefusal       = 3
	typeGoodbye       = 4
	typePacket        = 5
	typeHeartbeat     = 6
	typeSnapshotBegin = 7
	typeSnapshotPart  = 8
	typeSnapshotEnd   = 9
	typeSession       = 10
	typeSubscribe     = 11
	typeSubscribed    = 12
	typePulse         = 13
	typeEnd           = 14

	kindGone     = 20
	reasonGone   = 1 // expired; 2 is damaged
	mostNested   = 4
	codeShutdown = 1
)

var errWire = errors.New("not msgpack as PROTOCOL.md allows it")

// wireSize returns the size of the msgpack value that b begins with, 0 if b holds only a part of it.
func wireSize(b []byte, depth int) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if depth > mostNested {
		return 0, errWire
	}
	fixed := func(n int) (int, error) {
		if len(b) < n {
			return 0, nil
		}
		return n, nil
	}
	sized := func(width int) (int, error) {
		if len(b) < 1+width {
			return 0, nil
		}
		return fixed(1 + width + int(bigEndian(b[1:1+width])))
	}
	array := func(width, n int) (int, error) {
		at := 1 + width
		for range n {
			size, err := wireSize(b[min(at, len(b)):], depth+1)
			if size == 0 || err != nil {
				return 0, err
			}
			at += size
		}
		return at, nil
	}
	switch c := b[0]; {
	case c < 0x80, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3:
		return 1, nil
	case c&0xf0 == 0x90:
		return array(0, int(c&0x0f))
	case c&0xe0 == 0xa0:
		return fixed(1 + int(c&0x1f))
	case c >= 0xc4 && c <= 0xc6:
		return sized(1 << (c - 0xc4))
	case c >= 0xcc && c <= 0xcf:
		return fixed(1 + 1<<(c-0xcc))
	case c >= 0xd0 && c <= 0xd3:
		return fixed(1 + 1<<(c-0xd0))
	case c >= 0xd9 && c <= 0xdb:
		return sized(1 << (c - 0xd9))
	case c == 0xdc:
		if len(b) < 3 {
			return 0, nil
		}
		return array(2, int(bigEndian(b[1:3])))
	}
	return 0, errWire
}

func bigEndian(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// wireValue decodes the whole value that b begins with: nil, a bool, an int64, a uint64 above the greatest int64, a string,
// []byte or []any.
func wireValue(b []byte) (v any, rest []byte) {
	array := func(at, n int) (any, []byte) {
		rest := b[at:]
		all := make([]any, n)
		for i := range all {
			all[i], rest = wireValue(rest)
		}
		return all, rest
	}
	switch c := b[0]; {
	case c < 0x80:
		return int64(c), b[1:]
	case c >= 0xe0:
		return int64(int8(c)), b[1:]
	case c == 0xc0:
		return nil, b[1:]
	case c == 0xc2, c == 0xc3:
		return c == 0xc3, b[1:]
	case c&0xf0 == 0x90:
		return array(1, int(c&0x0f))
	case c&0xe0 == 0xa0:
		n := 1 + int(c&0x1f)
		return string(b[1:n]), b[n:]
	case c >= 0xc4 && c <= 0xc6:
		at := 1 + 1<<(c-0xc4)
		n := at + int(bigEndian(b[1:at]))
		return b[at:n], b[n:]
	case c >= 0xcc && c <= 0xcf:
		n := 1 + 1<<(c-0xcc)
		u := bigEndian(b[1:n])
		if u>>63 != 0 {
			return u, b[n:]
		}
		return int64(u), b[n:]
	case c >= 0xd0 && c <= 0xd3:
		width := 1 << (c - 0xd0)
		shift := 64 - 8*width
		return int64(bigEndian(b[1:1+width])<<shift) >> shift, b[1+width:]
	case c >= 0xd9 && c <= 0xdb:
		at := 1 + 1<<(c-0xd9)
		n := at + int(bigEndian(b[1:at]))
		return string(b[at:n]), b[n:]
	}
	return array(3, int(bigEndian(b[1:3])))
}

// A wireMessage is one decoded message. Its getters report a field that is missing or of another type by setting bad.
type wireMessage struct {
	fields []any
	bad    bool
}

func (m *wireMessage) field(i int) any {
	if i < len(m.fields) {
		return m.fields[i]
	}
	m.bad = true
	return nil
}

func (m *wireMessage) uint(i int) uint64 {
	switch v := m.field(i).(type) {
	case int64:
		if v >= 0 {
			return uint64(v)
		}
	case uint64:
		return v
	}
	m.bad = true
	return 0
}

func (m *wireMessage) int(i int) int64 {
	v, ok := m.field(i).(int64)
	m.bad = m.bad || !ok
	return v
}

func (m *wireMessage) text(i int) string {
	v, ok := m.field(i).(string)
	m.bad = m.bad || !ok
	return v
}

func (m *wireMessage) bool(i int) bool {
	v, ok := m.field(i).(bool)
	m.bad = m.bad || !ok
	return v
}

func (m *wireMessage) texts(i int) (all []string) {
	list, ok := m.field(i).([]any)
	m.bad = m.bad || !ok
	for _, v := range list {
		s, ok := v.(string)
		m.bad = m.bad || !ok
		all = append(all, s)
	}
	return all
}

func (m *wireMessage) lineage(i int) (l feed.Lineage) {
	list, ok := m.field(i).([]any)
	m.bad = m.bad || !ok
	for _, v := range list {
		pair, ok := v.([]any)
		if !ok || len(pair) != 2 {
			m.bad = true
			return l
		}
		p := wireMessage{fields: pair}
		l = append(l, feed.Session{ID: feed.SessionID(p.uint(0)), First: p.uint(1)})
		m.bad = m.bad || p.bad
	}
	return l
}

// A wirePacket is the fixed part of a packet, and its body.
type wirePacket struct {
	checksum      uint32
	first, count  uint64
	publish, base int64
	body          []byte
}

// Offsets in the fixed layout of a packet.
const (
	packetHead  = 46
	packetTimes = 25
)

func readPacket(raw []byte) (p wirePacket, err error) {
	if len(raw) < packetHead || raw[0] != 0x97 || raw[2] != 0xce || raw[7] != 0xcf || raw[16] != 0xcf || raw[25] != 0xd3 || raw[34] != 0xd3 || raw[43] != 0xc5 {
		return p, fmt.Errorf("packet: not in the fixed layout: % x", raw[:min(len(raw), packetHead)])
	}
	p = wirePacket{
		checksum: binary.BigEndian.Uint32(raw[3:]), first: bigEndian(raw[8:16]), count: bigEndian(raw[17:25]),
		publish: int64(bigEndian(raw[26:34])), base: int64(bigEndian(raw[35:43])), body: raw[packetHead:],
	}
	return p, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// wireChecksum returns the checksum that a packet or snapshot part of a line with that seed must have.
func wireChecksum(seed uint32, raw []byte) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, raw[1:2]), castagnoli, raw[7:])
}

// fullSeed returns the seed of the unfiltered line of a session.
func fullSeed(id feed.SessionID) uint32 {
	return crc32.Checksum(binary.BigEndian.AppendUint64(nil, uint64(id)), castagnoli)
}

// wireTick decodes an entry of a body as a tick; ok is false if the exam does not know its kind.
func wireTick(entry []any, base int64) (t feed.Tick, ok bool, err error) {
	m := wireMessage{fields: entry}
	code := m.uint(0)
	t = feed.Tick{Kind: feed.Kind(code >> 1), Flags: feed.Flags(code & 1), Instrument: feed.InstrumentID(m.uint(1)), EventTime: base + m.int(2)}
	price := func(i int) int64 {
		if m.field(i) == nil {
			return feed.NoPrice
		}
		return m.int(i)
	}
	conditions := func(i int) (v int64) {
		s := m.text(i)
		m.bad = m.bad || len(s) > 8
		for k := 0; k < len(s) && k < 8; k++ {
			v |= int64(s[k]) << (56 - 8*k)
		}
		return v
	}
	ref := func(i int) {
		if i < len(entry) {
			if t.Extra == nil {
				t.Extra = &feed.Extra{}
			}
			t.Extra.TradeRef = m.text(i)
		}
	}
	ok = true
	switch t.Kind {
	case 1:
		t.Extra = &feed.Extra{Definition: &feed.Definition{
			Symbol: m.text(3), Venue: m.text(4), PriceExponent: int8(m.int(5)), SizeExponent: int8(m.int(6)),
			Currency: m.text(7), TickSize: m.int(8), Lot: m.int(9),
		}}
	case 2:
		t.Values = [4]int64{price(3), m.int(4), price(5), m.int(6)}
	case 3:
		t.Values = [4]int64{price(3), m.int(4), int64(m.uint(6)), conditions(7)}
		t.Side = feed.Side(m.uint(5))
		ref(8)
	case 4:
		t.Values = [4]int64{price(3), m.int(4), int64(m.uint(6)), conditions(7)}
		t.Side = feed.Side(m.uint(5))
		t.Extra = &feed.Extra{OldPrice: price(8), OldSize: m.int(9)}
		ref(10)
	case 5:
		t.Values = [4]int64{price(3), m.int(4), int64(m.uint(5))}
		ref(6)
	case 6:
		t.Side = feed.Side(m.uint(3))
		t.Values = [4]int64{m.int(4), m.int(5)}
	case 7:
		t.Side = feed.Side(m.uint(3))
	case 8:
		t.Status = feed.Status(m.uint(3))
		t.Values[0] = m.int(4)
		if len(entry) > 5 && m.text(5) != "" {
			t.Extra = &feed.Extra{Reason: m.text(5)}
		}
		if len(entry) > 6 && m.field(6) != nil {
			t.Values[1] = t.EventTime + m.int(6)
		}
	case 11:
		t.Status = feed.Status(m.uint(3))
		t.Side = feed.Side(m.uint(6))
		t.Values = [4]int64{price(4), m.int(5), m.int(7)}
		if m.field(8) != nil {
			t.Values[3] = t.EventTime + m.int(8)
		}
	default:
		ok = false
	}
	if m.bad {
		return t, false, fmt.Errorf("an entry that PROTOCOL.md does not allow: %v", entry)
	}
	return t, ok, nil
}

// appendWire appends v as msgpack, integers in the shortest form.
func appendWire(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 0xc0)
	case bool:
		if v {
			return append(b, 0xc3)
		}
		return append(b, 0xc2)
	case int:
		return appendWire(b, uint64(v))
	case uint64:
		switch {
		case v < 0x80:
			return append(b, byte(v))
		case v <= 0xff:
			return append(b, 0xcc, byte(v))
		case v <= 0xffff:
			return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(v))
		case v <= 0xffff_ffff:
			return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
		}
		return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(v))
	case string:
		if len(v) < 32 {
			b = append(b, 0xa0|byte(len(v)))
		} else {
			b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(v)))
		}
		return append(b, v...)
	case []any:
		if len(v) < 16 {
			b = append(b, 0x90|byte(len(v)))
		} else {
			b = binary.BigEndian.AppendUint16(append(b, 0xdc), uint16(len(v)))
		}
		for _, e := range v {
			b = appendWire(b, e)
		}
		return b
	case []string:
		all := make([]any, len(v))
		for i := range v {
			all[i] = v[i]
		}
		return appendWire(b, all)
	case feed.Lineage:
		all := make([]any, len(v))
		for i := range v {
			all[i] = []any{uint64(v[i].ID), v[i].First}
		}
		return appendWire(b, all)
	}
	panic(fmt.Sprintf("exam: %T does not stand in a message", v))
}
