package dbn

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// An instrument whose best bid and offer changes repeatedly is listed once, so that
// neither memory nor time grows with the file.
func TestTouchedInstrumentsAreListedOnce(t *testing.T) {
	var d decoder
	in, other := &instrument{}, &instrument{}
	for i := range 5000 {
		d.touch(in, int64(i))
		d.touch(other, int64(i))
		d.flush(nil, in)
	}
	assert.Len(t, d.dirty, 2)
	d.flush(nil, in)
	d.End(nil)
	assert.Empty(t, d.dirty)
	d.touch(in, 1)
	assert.Len(t, d.dirty, 1, "in the next file again")
}
