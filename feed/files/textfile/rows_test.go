package textfile_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed/files/textfile"
)

// Rows are tested at their bounds, and beyond them.
func TestRowsAtTheBounds(t *testing.T) {
	for _, test := range []struct {
		row string
		ok  bool
	}{
		{"2024-03-11T10:00:00Z,A,1,2", true},
		{"2024-03-11T10:00:00Z,A,1,2,3", false}, // a column too many
		{"2024-03-11T10:00:00Z,A,1", false},     // one too few
		{"2000-02-29T10:00:00Z,A,1,2", true},
		{"1900-02-29T10:00:00Z,A,1,2", false},
		{"2023-02-29T10:00:00Z,A,1,2", false},
		{"2024-03-11T10:00:00+05:59,A,1,2", true},
		{"2024-03-11T10:00:00+05:60,A,1,2", false},
	} {
		_, _, err := read(t, "time,symbol,price,size\n"+test.row+"\n", textfile.Config{})
		assert.Equal(t, test.ok, err == nil, "%s: %v", test.row, err)
	}
}
