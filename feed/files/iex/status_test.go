package iex_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed/recorded"
)

// tradingStatus is a trading status message, field by field as in the table of IEX TOPS 1.6 and DEEP 1.0.
func tradingStatus(at byte, state byte, reason string) []byte {
	m := []byte{'H', state}
	m = append(m, at, 0x10, 0xba, 0x29, 0x68, 0x64, 0xea, 0x18) // timestamp
	m = append(m, "ZIEXT   "...)                                // symbol
	return append(m, reason...)                                 // reason: four bytes
}

// operationalHalt is an operational halt status message, field by field.
func operationalHalt(at byte, state byte) []byte {
	m := []byte{'O', state}
	m = append(m, at, 0x10, 0xba, 0x29, 0x68, 0x64, 0xea, 0x18)
	return append(m, "ZIEXT   "...)
}

// A status has the state and the reason of the last trading status message, except during an operational halt, which is
// its own reason unless trading is halted anyway.
func TestStatusesHaveStateAndReason(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  [][]byte
		want []string
	}{
		{"halted, news pending", [][]byte{tradingStatus(1, 'H', "T1  ")}, []string{"halted: T1"}},
		{"order acceptance period after a halt", [][]byte{tradingStatus(1, 'O', "T3  ")}, []string{"pre-open: T3"}},
		{"paused, with orders accepted", [][]byte{tradingStatus(1, 'P', "IPO1")}, []string{"pre-open: IPO1"}},
		{"trading, without a reason", [][]byte{tradingStatus(1, 'T', "    ")}, []string{"trading"}},
		{"an unknown state", [][]byte{tradingStatus(1, '?', "MCB3")}, []string{"unknown: MCB3"}},
		{"zeros for blanks", [][]byte{tradingStatus(1, 'H', "NA\x00\x00")}, []string{"halted: NA"}},
		{
			"operational halt",
			[][]byte{tradingStatus(1, 'T', "IPO2"), operationalHalt(2, 'O'), operationalHalt(3, 'N')},
			[]string{"trading: IPO2", "halted: operational halt", "trading: IPO2"},
		},
		{
			"operational halt of a halted stock",
			[][]byte{tradingStatus(1, 'H', "T1  "), operationalHalt(2, 'O'), tradingStatus(3, 'T', "    ")},
			[]string{"halted: T1", "halted: T1", "halted: operational halt"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ticks, _, _ := read(t, file(t, packet(1, 1, c.raw...)))
			assert.Equal(t, c.want, recorded.Statuses(t, ticks))
		})
	}
}
