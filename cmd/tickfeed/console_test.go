package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// What a terminal sends is keys: arrows in both of their forms, alone or among others, and nothing for what is not one.
func TestKeys(t *testing.T) {
	for sent, want := range map[string][]keyPress{
		" s+=-,.q\x03":       {keyPause, keyStep, keyFaster, keyFaster, keySlower, keyBack, keyForward, keyQuit, keyInterrupt},
		"\x1b[C\x1b[D":       {keyForward, keyBack},
		"\x1bOC\x1bOD":       {keyForward, keyBack},
		"\x1b[A\x1b[B\x1b[H": nil,                    // up, down, home
		"\x1b[3~\x1b[1;5C ":  {keyForward, keyPause}, // delete; right with Ctrl; space
		"\x1b q":             {keyPause, keyQuit},    // escape alone
		"\x1b\x1b[C":         {keyForward},           // escape twice
		"?h\x1a":             {keyHelp, keyHelp, keySuspend},
		"xyz\x00\xff\n":      nil,
		"\x1b[sq":            {keyQuit}, // the end of a sequence is no key
	} {
		var r keyReader
		var got []keyPress
		for _, b := range []byte(sent) {
			if k := r.next(b); k != keyNone {
				got = append(got, k)
			}
		}
		assert.Equal(t, want, got, "%q", sent)
	}
}
