package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A lab whose upstream is down says so at once, then less and less often, and when it can be reached; of one that is up it says nothing.
func TestLabReportsThatItsUpstreamIsDown(t *testing.T) {
	for _, test := range []struct {
		down time.Duration
		want int // reports that it cannot be reached
	}{{0, 0}, {500 * time.Millisecond, 1}, {3500 * time.Millisecond, 3}, {5 * time.Minute, 10}} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			dial := func(context.Context) (net.Conn, error) {
				if time.Since(began) < test.down {
					return nil, errors.New("cannot connect to pub:8425: connection refused")
				}
				nc, other := net.Pipe()
				other.Close()
				return nc, nil
			}
			var said bytes.Buffer
			p := &program{stderr: &said}
			p.watchUpstream(t.Context(), "pub:8425", dial)
			assert.Equal(t, test.want, strings.Count(said.String(), "the upstream cannot be reached: cannot connect to pub:8425"), "%v: %s", test.down, &said)
			assert.Equal(t, test.want > 0, strings.Contains(said.String(), "the upstream pub:8425 can be reached now"), &said)
		})
	}
	synctest.Test(t, func(t *testing.T) { // it ends with the lab
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		p := &program{stderr: new(bytes.Buffer)}
		p.watchUpstream(ctx, "pub:8425", func(context.Context) (net.Conn, error) {
			return nil, errors.New("cannot connect to pub:8425: connection refused")
		})
		assert.Error(t, ctx.Err())
	})
}
