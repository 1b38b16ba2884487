package words_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed/words"
)

var sizes = words.List{What: "size", Words: []string{"", "small", "large"}}

// A size is an enumeration.
type size uint8

func (s size) String() string                   { return sizes.Word(int(s)) }
func (s *size) UnmarshalText(text []byte) error { return words.Parse(s, &sizes, text) }

func ExampleParse() {
	var s size
	fmt.Println(s.UnmarshalText([]byte("large")), s)
	fmt.Println(s.UnmarshalText([]byte("huge")))
	// Output:
	// <nil> large
	// size must be small or large, got "huge"
}

// A value without a word is printed as a number, and no text is read as it. An error leaves the value.
func TestValuesWithoutAWord(t *testing.T) {
	assert.Equal(t, "size(0)", size(0).String())
	assert.Equal(t, "size(3)", size(3).String())
	s := size(2)
	assert.Error(t, s.UnmarshalText(nil))
	assert.Error(t, s.UnmarshalText([]byte("size(3)")))
	assert.Equal(t, size(2), s)
}
