package rawfile

import (
	"fmt"
	"hash/crc32"
	"unicode/utf8"

	"tickfeed/feed"
)

// Instruments gives the instruments of a source their dense ids, by symbol and venue. The
// zero Instruments is empty and ready to use.
type Instruments struct {
	ids  map[instrumentName]feed.InstrumentID
	defs []*feed.Definition
}

type instrumentName struct{ symbol, venue string }

// Define is the id of the instrument that d defines. Where d is new, or says something else
// than before, a definition tick at eventTime is appended to out. The error says what is out
// of bounds: a field of d, or the number of instruments; out is unchanged then.
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

// Lookup is the id of an instrument, and how it was last defined; nil if it was not.
func (in *Instruments) Lookup(symbol, venue string) (feed.InstrumentID, *feed.Definition) {
	id, known := in.ids[instrumentName{symbol, venue}]
	if !known {
		return 0, nil
	}
	return id, in.defs[id]
}

// Short is text within feed.MaxText: as it is, or, where a format allows longer ones, cut before a
// character and followed by ~ and eight digits that differ between texts.
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

// Len is how many instruments there are.
func (in *Instruments) Len() int { return len(in.defs) }
