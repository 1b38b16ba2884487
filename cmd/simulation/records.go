package simulation

import (
	"fmt"
	"os"

	"tickfeed/feed"
)

// A Record is one tick of a recording.
type Record struct {
	Session    feed.SessionID
	Publish    int64 // when its packet was sealed
	Tick       feed.Tick
	Definition *feed.Definition // of the tick's instrument, as of the tick; nil if there is none
}

// A Recorded is the result of ReadRecordings apart from the ticks.
type Recorded struct {
	Mode    uint64       // of the last header
	Lineage feed.Lineage // of the last header
	Next    uint64       // number after the last packet
	Last    int64        // publish time of the last packet
}

// ReadRecordings calls each for every tick of recordings that follow one another, such as the files of a
// journal. It reads them by PROTOCOL.md and shares no code with packages codec and recording. Any deviation
// from PROTOCOL.md is an error, except that the last file may end with an incomplete message.
func ReadRecordings(each func(*Record) error, paths ...string) (r Recorded, err error) {
	definitions := make(map[feed.InstrumentID]*feed.Definition)
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return r, err
		}
		if err := r.read(data, i+1 == len(paths), definitions, each); err != nil {
			return r, fmt.Errorf("%s: %w", path, err)
		}
	}
	return r, nil
}

func (r *Recorded) read(data []byte, last bool, definitions map[feed.InstrumentID]*feed.Definition, each func(*Record) error) error {
	const header, index, trailer = 15, 16, 17
	var session feed.SessionID
	var seed uint32
	for at := 0; at < len(data); {
		size, err := wireSize(data[at:], 1)
		if size == 0 || err != nil {
			if last {
				return nil
			}
			return fmt.Errorf("byte %d: not a whole message: %v", at, err)
		}
		raw := data[at : at+size]
		at += size
		v, _ := wireValue(raw)
		m := wireMessage{}
		m.fields, _ = v.([]any)
		switch typ := m.uint(0); typ {
		case header:
			if m.text(1) != "tickfeed" {
				return fmt.Errorf("byte %d: a header of %q", at-size, m.text(1))
			}
			r.Mode, r.Lineage, seed = m.uint(3), m.lineage(4), uint32(m.uint(6))
			if len(r.Lineage) > 0 {
				session = r.Lineage[len(r.Lineage)-1].ID
			}
		case typePacket:
			p, err := readPacket(raw)
			switch {
			case err != nil:
				return err
			case wireChecksum(seed, raw) != p.checksum:
				return fmt.Errorf("byte %d: packet %d has another checksum", at-size, p.first)
			case r.Next != 0 && p.first != r.Next:
				return fmt.Errorf("byte %d: packet %d comes after %d", at-size, p.first, r.Next)
			case p.publish < r.Last:
				return fmt.Errorf("byte %d: packet %d was published before the one before it", at-size, p.first)
			}
			r.Next, r.Last = p.first+p.count, p.publish
			if err := records(session, p.first, &p, definitions, each); err != nil {
				return err
			}
		case typeSnapshotPart:
			p := wirePacket{base: m.int(4), body: raw[37:]}
			if err := records(session, 0, &p, definitions, func(*Record) error { return nil }); err != nil {
				return err
			}
		case typeSnapshotBegin, typeSnapshotEnd, index, trailer:
		default:
			return fmt.Errorf("byte %d: message %d", at-size, typ)
		}
		if m.bad {
			return fmt.Errorf("byte %d: a message that PROTOCOL.md does not allow: %v", at-size, m.fields)
		}
	}
	return nil
}

// records calls each for the ticks of a body, whose first number is seq.
func records(session feed.SessionID, seq uint64, p *wirePacket, definitions map[feed.InstrumentID]*feed.Definition, each func(*Record) error) error {
	for body := p.body; len(body) > 0; {
		size, err := wireSize(body, 1)
		if size == 0 || err != nil {
			return fmt.Errorf("the body of packet %d: %v", p.first, err)
		}
		v, _ := wireValue(body)
		body = body[size:]
		switch v := v.(type) {
		case int64:
			seq += uint64(max(v, -v))
		case []any:
			m := wireMessage{fields: v}
			if m.uint(0) == kindGone {
				seq += m.uint(1)
				break
			}
			t, known, err := wireTick(v, p.base)
			if err != nil {
				return err
			}
			if known && t.Kind == feed.KindDefinition {
				definitions[t.Instrument] = t.Definition()
			}
			t.Seq = seq
			seq++
			if !known {
				break
			}
			if err := each(&Record{Session: session, Publish: p.publish, Tick: t, Definition: definitions[t.Instrument]}); err != nil {
				return err
			}
		default:
			return fmt.Errorf("packet %d has the entry %v", p.first, v)
		}
	}
	return nil
}
