package netsim_test

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/codec/netsim"
)

// One frame is one Write of 64 bytes with its deadline, and the read that takes it.
func BenchmarkFrames(b *testing.B) {
	for _, c := range []struct {
		name       string
		conditions netsim.Conditions
	}{
		{"fast", netsim.Conditions{}},
		{"latency and jitter", netsim.Conditions{Latency: time.Millisecond, Jitter: time.Millisecond}},
		{"1 GB a second", netsim.Conditions{Bandwidth: 1 << 30}},
	} {
		b.Run(c.name, func(b *testing.B) {
			client, server := connect(b, netsim.New(1, netsim.Config{Conditions: c.conditions}))
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				frame := make([]byte, 64)
				for range b.N {
					client.SetWriteDeadline(time.Now().Add(time.Minute))
					client.Write(frame)
				}
				client.Close()
			}()
			buf := make([]byte, 64)
			var err error
			for err == nil {
				server.SetReadDeadline(time.Now().Add(time.Minute))
				_, err = io.ReadFull(server, buf)
			}
			require.Equal(b, io.EOF, err)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}
