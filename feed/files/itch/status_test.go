package itch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed/files/itch"
	"tickfeed/feed/recorded"
)

// action is a stock trading action, field by field as in the table of Nasdaq TotalView-ITCH 5.0.
func action(state byte, reason string) []byte {
	m := []byte{0, 25} // length of the message, of BinaryFILE
	m = append(m, 'H')
	m = append(m, 0, 1)                               // stock locate
	m = append(m, 0, 0)                               // tracking number
	m = append(m, 0x33, 0xd7, 0x58, 0xc0, 0x90, 0x00) // timestamp: 15:50
	m = append(m, "XYZ     "...)                      // stock
	m = append(m, state, 'R')                         // trading state, reserved
	return append(m, reason...)                       // reason: four bytes
}

// operational is an operational halt, field by field.
func operational(action byte) []byte {
	m := []byte{0, 21}
	m = append(m, 'h', 0, 1, 0, 0, 0x33, 0xd7, 0x58, 0xc0, 0x90, 0x00) // as above
	m = append(m, "XYZ     "...)
	return append(m, 'Q', action) // market code, action
}

// A status has the state and the reason of the last trading action, except during an operational halt, which is its own
// reason unless trading is halted anyway.
func TestStatusesHaveStateAndReason(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  [][]byte
		want []string
	}{
		{"halted, news pending", [][]byte{action('H', "T1  ")}, []string{"halted: T1"}},
		{"paused for volatility", [][]byte{action('P', "LUDP")}, []string{"halted: LUDP"}},
		{"quotation only", [][]byte{action('Q', "R4  ")}, []string{"pre-open: R4"}},
		{"trading, without a reason", [][]byte{action('T', "    ")}, []string{"trading"}},
		{"an unknown state", [][]byte{action('Z', "IPO1")}, []string{"unknown: IPO1"}},
		{"zeros for blanks", [][]byte{action('H', "T3\x00\x00")}, []string{"halted: T3"}},
		{"no text", [][]byte{action('H', "T\x01\x02\xff")}, []string{"halted"}},
		{
			"operational halt",
			[][]byte{action('T', "C11 "), operational('H'), operational('T')},
			[]string{"trading: C11", "halted: operational halt", "trading: C11"},
		},
		{
			"operational halt of a halted stock",
			[][]byte{action('H', "T12 "), operational('H'), action('T', "    ")},
			[]string{"halted: T12", "halted: T12", "halted: operational halt"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var file writer
			for _, m := range c.raw {
				file = append(file, m...)
			}
			ticks, _, _ := read(t, itch.Config{}, file.file(t, "01302020.itch"))
			assert.Equal(t, c.want, recorded.Statuses(t, ticks))
		})
	}
}
