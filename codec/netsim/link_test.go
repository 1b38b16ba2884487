package netsim_test

import (
	"encoding/binary"
	"io"
	"math/bits"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/netsim"
)

// exchange sends text both ways and expects it to arrive at once.
func exchange(t *testing.T, client, server *netsim.Conn, text string) {
	t.Helper()
	buf := make([]byte, len(text))
	for _, pair := range [][2]*netsim.Conn{{client, server}, {server, client}} {
		_, err := pair[0].Write([]byte(text))
		require.NoError(t, err)
		_, err = io.ReadFull(pair[1], buf)
		require.NoError(t, err)
		require.Equal(t, text, string(buf))
	}
}

// numbered returns n bytes that differ from their neighbours.
func numbered(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

// A reset fails both ends at once, waiting readers and writers included, and unread bytes are lost.
func TestResetFailsBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 100}})
		client, server := connect(t, network)
		exchange(t, client, server, "before")
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := client.Read(make([]byte, 10))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
		})
		waiting.Go(func() {
			n, err := client.Write(make([]byte, 1000))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			assert.Equal(t, 100, n)
		})
		synctest.Wait()
		start := time.Now()
		network.Links()[0].Reset()
		waiting.Wait()
		assert.Zero(t, time.Since(start))

		for _, conn := range []*netsim.Conn{client, server} {
			_, err := conn.Read(make([]byte, 10))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			assert.ErrorContains(t, err, "connection reset by peer")
			_, err = conn.Write([]byte("x"))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			_, err = conn.TryWrite([]byte("x"))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
		}
		client.Link().Reset()
		assert.Equal(t, uint64(1), network.Stats().Resets, "the second met nothing")
		assert.Empty(t, network.Links())
		assert.NoError(t, client.Close())
	})
}

// A cut lets exactly n bytes through, then resets or ends the stream; it is counted when the reader reaches it.
func TestCutInsideAMessage(t *testing.T) {
	for _, after := range []int{0, 1, 41, 100, 101} {
		synctest.Test(t, func(t *testing.T) {
			network := netsim.New(1, netsim.Config{})
			client, server := connect(t, network)
			exchange(t, client, server, "before")
			client.Link().Up.ResetAfter(after)
			client.Write(numbered(100))
			client.Close()
			got, err := io.ReadAll(server)
			assert.Equal(t, numbered(100)[:min(after, 100)], got)
			if after <= 100 {
				assert.ErrorIs(t, err, syscall.ECONNRESET)
			} else {
				assert.NoError(t, err)
			}
			assert.Equal(t, after <= 100, network.Stats().Cuts == 1)
		})
		synctest.Test(t, func(t *testing.T) {
			network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 100}})
			client, server := connect(t, network)
			client.Link().Up.EndAfter(after)
			_, err := client.Write(numbered(100))
			assert.NoError(t, err)
			if after > 100 {
				client.Close()
			}
			got := make([]byte, 200)
			n, err := io.ReadFull(server, got[:after])
			assert.Equal(t, numbered(100)[:min(after, 100)], got[:n])
			if after <= 100 {
				assert.NoError(t, err)
				_, err = server.Read(got)
				assert.Equal(t, io.EOF, err)
				_, err = client.Write(make([]byte, 1000))
				assert.NoError(t, err, "it vanishes")
				_, err = server.Write([]byte("down"))
				assert.NoError(t, err)
				n, err = client.Read(got)
				assert.NoError(t, err)
				assert.Equal(t, "down", string(got[:n]), "the other direction lives")
			}
			assert.Equal(t, after <= 100, network.Stats().Truncated == 1)
		})
	}
}

// A cut of a connection or direction that has ended has no effect.
func TestCutsCountOnce(t *testing.T) {
	network := netsim.New(1, netsim.Config{})
	client, server := connect(t, network)
	client.Link().Up.EndAfter(0)
	client.Link().Up.EndAfter(0)
	client.Close()
	server.Close()
	client.Link().Down.ResetAfter(0)
	client.Link().Down.EndAfter(0)
	client.Link().Reset()
	assert.Equal(t, netsim.Stats{Connections: 1, Truncated: 1}, network.Stats())

	network = netsim.New(1, netsim.Config{})
	client, _ = connect(t, network)
	client.Link().Up.EndAfter(0)
	client.Link().Up.ResetAfter(0)
	client.Link().Up.ResetAfter(0)
	assert.Equal(t, netsim.Stats{Connections: 1, Truncated: 1, Cuts: 1}, network.Stats(), "an end is not a reset")
}

// A black hole swallows bytes and the close; the writer notices nothing and the reader waits forever.
func TestBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 100}})
		client, server := connect(t, network)
		client.Write([]byte("before"))
		client.Link().Up.BlackHole()
		assert.Zero(t, network.Stats().BlackHoles, "nothing was swallowed yet")
		n, err := client.Write(make([]byte, 1000))
		assert.NoError(t, err)
		assert.Equal(t, 1000, n)
		n, err = client.TryWrite(make([]byte, 1000))
		assert.NoError(t, err)
		assert.Equal(t, 1000, n)
		assert.Equal(t, 6, client.Link().Up.Buffered())

		server.Write([]byte("down"))
		buf := make([]byte, 10)
		n, err = client.Read(buf)
		assert.NoError(t, err)
		assert.Equal(t, "down", string(buf[:n]), "the other direction lives")

		client.Close()
		n, err = server.Read(buf)
		assert.NoError(t, err)
		assert.Equal(t, "before", string(buf[:n]))
		server.SetDeadline(time.Now().Add(8 * time.Hour))
		_, err = server.Read(buf)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		server.SetDeadline(time.Time{})
		_, err = server.Write(make([]byte, 1000))
		assert.NoError(t, err, "the server never heard of the close")
		assert.Equal(t, netsim.Stats{Connections: 1, BlackHoles: 1, Swallowed: 2000}, network.Stats())
	})
}

// A writer into a black hole does not learn from its writes that the peer has closed, only from reading the
// end.
func TestBlackHoleHidesClose(t *testing.T) {
	client, server := connect(t, netsim.New(1, netsim.Config{}))
	client.Link().Down.BlackHole()
	client.Close()
	_, err := server.Write([]byte("x"))
	assert.NoError(t, err)
	_, err = server.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
}

// A writer that waits for room continues when the direction becomes a black hole.
func TestBlackHoleFreesWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := connect(t, netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 100}}))
		wrote := make(chan int)
		go func() {
			n, _ := client.Write(make([]byte, 1000))
			wrote <- n
		}()
		synctest.Wait()
		client.Link().BlackHole()
		assert.Equal(t, 1000, <-wrote)
	})
}

// A stall withholds everything, then releases it, the end included; it is counted only if a reader waited for
// it.
func TestStallWithholdsAndReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{})
		ln := listen(t, network, "pub:1")
		client, server := connectTo(t, network, ln)
		start := time.Now()
		client.Link().Stall(time.Second)
		client.Write([]byte("one"))
		time.Sleep(2 * time.Second)
		buf := make([]byte, 10)
		server.Read(buf)
		assert.Zero(t, network.Stats().Stalls, "no reader waited")

		client.Link().Up.Stall(2 * time.Second)
		client.Link().Up.Stall(time.Second) // ends before the other
		go func() {
			time.Sleep(time.Second / 2)
			client.Write([]byte("two"))
			client.Close()
		}()
		got, err := io.ReadAll(server)
		assert.NoError(t, err)
		assert.Equal(t, "two", string(got))
		assert.Equal(t, 4*time.Second, time.Since(start))
		assert.Equal(t, uint64(1), network.Stats().Stalls)

		client, server = connectTo(t, network, ln)
		client.Link().Up.Stall(time.Second)
		server.SetReadDeadline(time.Now().Add(time.Second / 2))
		_, err = server.Read(buf)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, uint64(1), network.Stats().Stalls, "there was nothing to keep")
		time.Sleep(time.Second)
		server.SetReadDeadline(time.Time{})
		for i := range uint64(2) {
			client.Link().Up.Stall(time.Second)
			client.Write([]byte("x"))
			server.SetReadDeadline(time.Now().Add(time.Second / 2))
			_, err = server.Read(buf)
			assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
			server.SetReadDeadline(time.Time{})
			server.Read(buf)
			assert.Equal(t, 2+i, network.Stats().Stalls, "each stall counts, once")
		}
	})
}

// Latency delays the bytes and the end, not the writer; jitter changes the delays, never the order.
func TestLatencyAndJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Latency: 40 * time.Millisecond}})
		client, server := connect(t, network)
		start := time.Now()
		client.Write([]byte("one"))
		time.Sleep(10 * time.Millisecond)
		client.Write([]byte("two"))
		client.CloseWrite()
		buf := make([]byte, 10)
		n, _ := server.Read(buf)
		assert.Equal(t, "one", string(buf[:n]))
		assert.Equal(t, 40*time.Millisecond, time.Since(start))
		n, _ = server.Read(buf)
		assert.Equal(t, "two", string(buf[:n]))
		assert.Equal(t, 50*time.Millisecond, time.Since(start))
		_, err := server.Read(buf)
		assert.Equal(t, io.EOF, err)
		assert.Equal(t, 50*time.Millisecond, time.Since(start))
		assert.Equal(t, uint64(2), network.Stats().Delayed)

		down := client.Link().Down
		down.SetConditions(netsim.Conditions{Jitter: 30 * time.Millisecond})
		go func() {
			for i := range 200 {
				server.Write([]byte{byte(i)})
				time.Sleep(time.Millisecond)
			}
		}()
		begin, late := time.Now(), map[time.Duration]bool{}
		for i := range 200 {
			_, err := io.ReadFull(client, buf[:1])
			require.NoError(t, err)
			require.Equal(t, byte(i), buf[0])
			delay := time.Since(begin) - time.Duration(i)*time.Millisecond
			require.GreaterOrEqual(t, delay, time.Duration(0))
			require.LessOrEqual(t, delay, 30*time.Millisecond)
			late[delay] = true
		}
		assert.Greater(t, len(late), 10, "delays differ")
	})
}

// Bandwidth lets bytes arrive packet by packet, at its pace from end to end, and small writes queue behind each other.
func TestBandwidthPacesPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Bandwidth: 14600}})
		client, server := connect(t, network)
		start := time.Now()
		client.Write(numbered(14_600)[:14_000])
		for _, b := range numbered(14_600)[14_000:] {
			client.Write([]byte{b})
		}
		client.Write(numbered(146_000)[14_600:])
		assert.Zero(t, time.Since(start), "the buffer took it")
		client.Close()
		buf := make([]byte, 1<<20)
		var got []byte
		_, err := server.Write([]byte("x"))
		assert.NoError(t, err, "the close is far behind")
		for len(got) < 146_000 {
			n, err := server.Read(buf)
			require.NoError(t, err)
			require.LessOrEqual(t, n, 1460)
			got = append(got, buf[:n]...)
			require.InDelta(t, float64(len(got))/14600, time.Since(start).Seconds(), 1e-5)
		}
		assert.Equal(t, numbered(146_000), got)
		_, err = server.Read(buf)
		assert.Equal(t, io.EOF, err)
		_, err = server.Write([]byte("x"))
		assert.ErrorIs(t, err, syscall.EPIPE)
		assert.Equal(t, uint64(602), network.Stats().Slowed)
	})
}

// A flipped bit is one bit of the given byte, the same for the same seed.
func TestFlipIsOneBit(t *testing.T) {
	flipped := func(seed uint64) (mask byte) {
		network := netsim.New(seed, netsim.Config{})
		client, server := connect(t, network)
		exchange(t, client, server, "before")
		client.Link().Up.FlipAfter(41)
		client.Link().Up.FlipAfter(1000)
		client.Write(numbered(100))
		got := make([]byte, 100)
		for i := range got {
			_, err := server.Read(got[i : i+1])
			require.NoError(t, err)
		}
		want := numbered(100)
		mask = got[41] ^ want[41]
		want[41] ^= mask
		assert.Equal(t, want, got)
		assert.Equal(t, 1, bits.OnesCount8(mask))
		assert.Equal(t, uint64(1), network.Stats().Flips, "the other byte never came")
		return mask
	}
	masks := map[byte]bool{}
	for seed := range uint64(20) {
		mask := flipped(seed)
		assert.Equal(t, mask, flipped(seed))
		masks[mask] = true
	}
	assert.Greater(t, len(masks), 3)
}

// shuffler is a middlebox for messages of four bytes: it drops every fifth, repeats every seventh, and sends
// every third after the next.
type shuffler struct {
	rest, held []byte
	busy       bool
}

func (s *shuffler) Pass(dst, p []byte) []byte {
	if s.busy {
		panic("called twice at a time")
	}
	s.busy = true
	defer func() { s.busy = false }()
	s.rest = append(s.rest, p...)
	for len(s.rest) >= 4 {
		message := s.rest[:4]
		switch i := binary.BigEndian.Uint32(message); {
		case i%5 == 0:
		case i%7 == 0:
			dst = append(append(dst, message...), message...)
		case i%3 == 0:
			s.held = append(s.held, message...)
			s.rest = s.rest[4:]
			continue
		default:
			dst = append(dst, message...)
		}
		dst = append(dst, s.held...)
		s.held = s.held[:0]
		s.rest = s.rest[4:]
	}
	if len(p) == 0 {
		dst = append(dst, s.held...)
	}
	return dst
}

// A middlebox sees every byte once and in order, in pieces of any size, and decides what arrives; at the end it
// releases the bytes that it kept.
func TestMiddleboxSeesEveryByteOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 64}})
		network.OnConnect(func(l *netsim.Link) { l.Up.SetMiddlebox(&shuffler{}) })
		client, server := connect(t, network)
		const count = 1000
		go func() {
			var stream []byte
			for i := range uint32(count) {
				stream = binary.BigEndian.AppendUint32(stream, i)
			}
			chance := client.Link().Up.Rand()
			for len(stream) > 0 {
				n := min(len(stream), 1+chance.IntN(100))
				client.Write(stream[:n])
				stream = stream[n:]
			}
			client.Close()
		}()
		data, err := io.ReadAll(server)
		require.NoError(t, err)
		var got, want []uint32
		for chunk := range slices.Chunk(data, 4) {
			got = append(got, binary.BigEndian.Uint32(chunk))
		}
		var held []uint32
		for i := range uint32(count) {
			switch {
			case i%5 == 0:
			case i%7 == 0:
				want = append(want, i, i)
			case i%3 == 0:
				held = append(held, i)
				continue
			default:
				want = append(want, i)
			}
			want, held = append(want, held...), nil
		}
		assert.Equal(t, append(want, held...), got)
		assert.Equal(t, uint32(999), got[len(got)-1], "held until the close")
	})
}

// Under any mix of faults the reader gets a prefix of the bytes written, all of them if nothing was cut, and
// every wait ends.
func TestStreamSurvivesFaults(t *testing.T) {
	var total netsim.Stats
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			chance := rand.New(rand.NewPCG(seed, 1))
			network := netsim.New(seed, netsim.Config{Conditions: netsim.Conditions{
				Latency:   time.Duration(chance.IntN(3)) * time.Millisecond,
				Jitter:    time.Duration(chance.IntN(3)) * time.Millisecond,
				Bandwidth: int64(chance.IntN(3)) << 20,
				Buffer:    16 << chance.IntN(12),
			}})
			client, server := connect(t, network)
			link, stream := client.Link(), numbered(1+chance.IntN(50_000))
			cut := chance.IntN(2) == 0
			if cut {
				link.Up.ResetAfter(chance.IntN(len(stream)))
			}
			for range chance.IntN(4) {
				at := time.Duration(chance.IntN(100)) * time.Millisecond
				long := time.Duration(chance.IntN(100)) * time.Millisecond
				if chance.IntN(2) == 0 {
					network.After(at, func() { link.Stall(long) })
				} else {
					network.After(at, func() { network.Partition("client", "pub:1") })
					network.After(at+long, func() { network.Heal("client", "pub:1") })
				}
			}
			var sent sync.WaitGroup
			sent.Go(func() {
				pieces, rest := rand.New(rand.NewPCG(seed, 2)), stream
				for len(rest) > 0 {
					p := rest[:min(len(rest), 1+pieces.IntN(5000))]
					n, err := client.Write(p)
					if err != nil {
						assert.ErrorIs(t, err, syscall.ECONNRESET)
						break
					}
					assert.Equal(t, len(p), n)
					rest = rest[n:]
				}
				client.Close()
			})
			got, err := io.ReadAll(server)
			sent.Wait()
			if cut {
				require.ErrorIs(t, err, syscall.ECONNRESET, "seed %d", seed)
				require.Equal(t, stream[:len(got)], got, "seed %d", seed)
			} else {
				require.NoError(t, err, "seed %d", seed)
				require.Equal(t, stream, got, "seed %d", seed)
			}
			stats := network.Stats()
			total.Cuts += stats.Cuts
			total.Stalls += stats.Stalls
			total.Partitions += stats.Partitions
			total.Delayed += stats.Delayed
			total.Slowed += stats.Slowed
			total.Full += stats.Full
		})
	}
	for name, count := range map[string]uint64{
		"cuts": total.Cuts, "stalls": total.Stalls, "partitions": total.Partitions,
		"delayed": total.Delayed, "slowed": total.Slowed, "full": total.Full,
	} {
		assert.NotZero(t, count, name)
	}
}
