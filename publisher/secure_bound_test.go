package publisher

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A client that asks for new keys, again and again, and reads none of the answers costs a bounded number of bytes, and then
// its connection.
func TestKeptBytesAreBounded(t *testing.T) {
	c := &secureConn{opened: true, try: func([]byte) (int, error) { return 0, nil }}
	answer := make([]byte, 27)
	var err error
	for n := 0; err == nil && n < 1<<20; n++ {
		_, err = below{c}.Write(answer)
	}
	assert.ErrorIs(t, err, errUnread)
	assert.LessOrEqual(t, len(c.kept), maxKept)
	assert.True(t, c.holds())
}
