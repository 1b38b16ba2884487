package script_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed/script"
)

func TestNearestFindsMistypedWords(t *testing.T) {
	words := []string{"halt", "auction", "delisting", "luld", "AAPL", "GOOGL", "A"}
	for typed, want := range map[string]string{
		"hlat": "halt", "HALT": "halt", "hat": "halt", "halts": "halt", "holt": "halt", "delist": "delisting", "auctoin": "auction",
		"aapl": "AAPL", "APPL": "AAPL", "GOGL": "GOOGL", "nonsense": "", "": "", "X": "", "de": "", "lud": "luld", "stall": "",
	} {
		assert.Equal(t, want, script.Nearest(typed, words), typed)
	}
	assert.Equal(t, `; did you mean "halt"?`, script.DidYouMean("hlat", words))
	assert.Empty(t, script.DidYouMean("nonsense", words))
}
