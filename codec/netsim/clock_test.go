package netsim

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A connection that has ended keeps no alarm, however distant its deadlines, and no buffer.
func TestNothingIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := New(1, Config{})
		ln, err := network.Listen("pub:1")
		require.NoError(t, err)
		defer ln.Close()
		for i := range 100 {
			dialled, err := network.Dial(t.Context(), "pub:1")
			require.NoError(t, err)
			accepted, err := ln.Accept()
			require.NoError(t, err)
			dialled.SetDeadline(time.Now().Add(24 * time.Hour))
			ended := make(chan error)
			go func() {
				_, err := io.ReadAll(dialled)
				dialled.Close()
				ended <- err
			}()
			synctest.Wait()
			require.Len(t, network.clock.queue, 1)
			if i%2 == 0 {
				network.Links()[0].Reset()
				require.Error(t, <-ended)
			}
			accepted.Write(make([]byte, 10))
			accepted.Close()
			if i%2 != 0 {
				require.NoError(t, <-ended)
			}
			require.Empty(t, network.clock.queue)
			require.Empty(t, network.links)
			require.Zero(t, dialled.(*Conn).in.queue)
		}
	})
}

// Alarms set for one instant ring in the order they were set, including one that is moved to it in between.
func TestAlarmsRingInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		var rung []int
		alarms := make([]*alarm, 50)
		for i := range alarms {
			alarms[i] = &alarm{index: -1, ring: func() { rung = append(rung, i) }}
		}
		for i, a := range alarms {
			c.set(a, time.Second+time.Duration(i%2)*time.Hour)
		}
		for i, a := range alarms {
			c.set(a, time.Second) // moves the odd ones
			c.set(a, time.Hour)   // moves none
			if i%10 == 0 {
				c.cancel(a)
				c.cancel(a)
			}
		}
		var want []int
		for i := range alarms {
			if i%2 == 0 && i%10 != 0 {
				want = append(want, i)
			}
		}
		for i := range alarms {
			if i%2 != 0 {
				want = append(want, i)
			}
		}
		time.Sleep(time.Second + 1)
		synctest.Wait()
		assert.Equal(t, want, rung)
		assert.Empty(t, c.queue)
	})
}

// A ring is a byte queue.
func TestRingIsAByteQueue(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 1))
	var r ring
	var want bytes.Buffer
	next := byte(0)
	for range 20_000 {
		p := make([]byte, chance.IntN(3000))
		if chance.IntN(2) == 0 {
			for i := range p {
				p[i] = next
				next++
			}
			r.write(p)
			want.Write(p)
		} else {
			p = p[:min(len(p), r.size)]
			r.read(p)
			require.True(t, bytes.Equal(want.Next(len(p)), p))
		}
		require.Equal(t, want.Len(), r.size)
	}
}
