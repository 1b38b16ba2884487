package rawfile

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"unicode/utf8"

	"tickfeed/feed"
)

// Instruments assigns dense ids to the instruments of a source, by symbol and venue. The zero Instruments is
// empty and ready to use.
type Instruments struct {
	ids  map[instrumentName]feed.InstrumentID
	defs []*feed.Definition
}

type instrumentName struct{ symbol, venue string }

// Define returns the id of the instrument that d defines. If d is new or differs from the previous definition,
// Define appends a definition tick at eventTime to out. The error says what is out of bounds: a field of d, or
// the number of instruments; out is unchanged then.
func (in *Instruments) Define(out []feed.Tick, d feed.Definition, eventTime int64) (feed.InstrumentID, []feed.Tick, error) {
	name := instrumentName{d.Symbol, d.Venue}
	id, known := in.ids[name]
	if known && *in.defs[id] == d {
		return id, out, nil
	}
	if err := d.Validate(); err != nil {
		return 0, out, err
	}
	if known {
		in.defs[id] = &d
	} else {
		if len(in.defs) >= feed.MaxInstruments {
			return 0, out, fmt.Errorf("more than %d instruments", feed.MaxInstruments)
		}
		if in.ids == nil {
			in.ids = make(map[instrumentName]feed.InstrumentID)
		}
		id = feed.InstrumentID(len(in.defs))
		in.ids[name] = id
		in.defs = append(in.defs, &d)
	}
	return id, append(out, feed.Tick{
		Kind: feed.KindDefinition, Instrument: id, EventTime: eventTime,
		Extra: &feed.Extra{Definition: &d},
	}), nil
}

// Lookup returns the id of an instrument and its last definition, or nil if it has none.
func (in *Instruments) Lookup(symbol, venue string) (feed.InstrumentID, *feed.Definition) {
	id, known := in.ids[instrumentName{symbol, venue}]
	if !known {
		return 0, nil
	}
	return id, in.defs[id]
}

// Short returns text if it fits feed.MaxText. Longer text, which some formats allow, is cut before a character
// and followed by ~ and the eight hexadecimal digits of its checksum.
func Short(text string) string {
	if len(text) <= feed.MaxText {
		return text
	}
	const tail = 1 + 8
	cut := feed.MaxText - tail
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return fmt.Sprintf("%s~%08x", text[:cut], crc32.ChecksumIEEE([]byte(text)))
}

// Text returns the text in a field of fixed width, without the blanks and zeros that pad it, or "" if a tick cannot hold it.
func Text(field []byte) string {
	text := string(bytes.Trim(field, " \x00"))
	if feed.ValidateText(text) != nil {
		return ""
	}
	return text
}

// Len returns the number of instruments.
func (in *Instruments) Len() int { return len(in.defs) }
