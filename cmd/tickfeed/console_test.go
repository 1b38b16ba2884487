package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The bytes of a terminal are read as keys: arrows in both of their forms, alone or among others. Bytes that are no key give none.
func TestKeysAreReadFromBytes(t *testing.T) {
	for sent, want := range map[string][]keyPress{
		" s+=-,.q\x03":       {pressPause, pressStep, pressFaster, pressFaster, pressSlower, pressBack, pressForward, pressQuit, pressInterrupt},
		"\x1b[C\x1b[D":       {pressForward, pressBack},
		"\x1bOC\x1bOD":       {pressForward, pressBack},
		"\x1b[A\x1b[B\x1b[H": nil,                        // up, down, home
		"\x1b[3~\x1b[1;5C ":  {pressForward, pressPause}, // delete; right with Ctrl; space
		"\x1b q":             {pressPause, pressQuit},    // escape alone
		"\x1b\x1b[C":         {pressForward},             // escape twice
		"?h\x1a":             {pressHelp, pressHelp},
		"xyz\x00\xff\n":      nil,
		"\x1b[sq":            {pressQuit}, // the end of a sequence is no key
	} {
		var r keyReader
		var got []keyPress
		for _, b := range []byte(sent) {
			if k := keyPresses[r.next(b)]; k != pressNothing {
				got = append(got, k)
			}
		}
		assert.Equal(t, want, got, "%q", sent)
	}
}
