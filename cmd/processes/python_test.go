package processes

import (
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
	"tickfeed/feed"
)

// python is a command of an interpreter that has msgpack and runs a program of codec/python;
// without one the test is skipped.
func python(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import msgpack").Run() == nil {
			return exec.Command(name, append([]string{filepath.Join("..", "..", "codec", "python", program)}, args...)...)
		}
	}
	t.Skip("no python3 with msgpack here (Debian: python3-msgpack)")
	return nil
}

// A program that knows no more than PROTOCOL.md prints the quotes that the publisher sends.
func TestPythonPrintsQuotes(t *testing.T) {
	t.Parallel()
	audit, addr := newAuditor(), newAddress()
	p := publish(t, lively("5k")...)
	addr.is(p.addr)
	var mu sync.Mutex
	quotes := map[string]bool{}
	f := follow(t, "follower", audit, addr, nil)
	f.mu.Lock()
	f.each = func(_ feed.SessionID, tick *feed.Tick, state *feed.State) {
		if tick.Kind != feed.KindQuote {
			return
		}
		d, _ := state.Definition(tick.Instrument)
		price := func(v int64) string {
			if v == feed.NoPrice {
				return "-"
			}
			decimals := int(-d.PriceExponent) // zeros at the end too
			unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
			return new(big.Rat).SetFrac(big.NewInt(v), unit).FloatString(decimals)
		}
		q := tick.Quote()
		mu.Lock()
		defer mu.Unlock()
		quotes[fmt.Sprint(d.Symbol, " ", price(q.Bid), " x ", q.BidSize, " ", price(q.Ask), " x ", q.AskSize)] = true
	}
	f.mu.Unlock()
	f.wait(t, "ticks", func() bool { return f.got > 0 })

	const count = 2000
	py := start(t, python(t, "quotes.py", p.addr, strconv.Itoa(count)))
	require.Equal(t, 0, py.wait(), "%v", py.said())
	left, ok := p.event(0, "subscriber left")
	require.True(t, ok)
	f.wait(t, "what it printed", func() bool { return f.next >= left.Next })
	lines := strings.Split(strings.TrimSpace(py.stdout.String()), "\n")
	require.Len(t, lines, count)
	mu.Lock()
	defer mu.Unlock()
	unknown := 0
	for _, line := range lines {
		if !quotes[line] {
			if unknown++; unknown < 5 {
				assert.Fail(t, "a quote that nobody published", "%q", line)
			}
		}
	}
	assert.Zero(t, unknown)
}

// A program of a page, that knows no more than PROTOCOL.md, prints every tick once, and right,
// across kills of the publisher.
func TestPythonResumes(t *testing.T) {
	t.Parallel()
	cmd := python(t, "resume.py")
	audit, addr := newAuditor(), newAddress()
	args := lively(effort.Of(t, "5k", "2k"), "--journal", filepath.Join(t.TempDir(), "journal"))
	p := publish(t, args...)
	addr.is(p.addr)
	args = append(args, "--listen", p.addr) // the program knows one address
	var mu sync.Mutex
	published := map[uint64]string{}
	f := follow(t, "follower", audit, addr, nil)
	f.mu.Lock()
	f.each = func(_ feed.SessionID, tick *feed.Tick, state *feed.State) {
		if tick.Kind != feed.KindQuote && tick.Kind != feed.KindTrade {
			return
		}
		d, _ := state.Definition(tick.Instrument)
		v := tick.Values
		mu.Lock()
		defer mu.Unlock()
		if tick.Kind == feed.KindQuote {
			published[tick.Seq] = fmt.Sprint(uint8(tick.Kind), " ", d.Symbol, " ", none(v[0]), " ", v[1], " ", none(v[2]), " ", v[3])
		} else { // price, size, aggressor, and what else the venue says
			published[tick.Seq] = fmt.Sprint(uint8(tick.Kind), " ", d.Symbol, " ", v[0], " ", v[1], " ", uint8(tick.Side))
		}
	}
	f.mu.Unlock()
	f.wait(t, "ticks", func() bool { return f.got > 0 })

	out, err := os.Create(filepath.Join(t.TempDir(), "ticks"))
	require.NoError(t, err)
	defer out.Close()
	cmd.Args, cmd.Stdout = append(cmd.Args, p.addr), out
	py := start(t, cmd)
	more := func() { // lets it print some more
		info, err := os.Stat(out.Name())
		require.NoError(t, err)
		waitForBytes(t, out.Name(), info.Size()+20_000)
	}
	const restarts = 3
	for range restarts {
		more()
		addr.is("")
		p.kill()
		p = publish(t, args...)
		addr.is(p.addr)
	}
	more()
	py.kill()
	all := printed(t, out.Name())
	var last uint64
	_, err = fmt.Sscan(all[len(all)-1], &last)
	require.NoError(t, err)
	f.wait(t, "what it printed", func() bool { return f.next > last })

	mu.Lock()
	defer mu.Unlock()
	var first, wrong int
	for i, line := range all {
		number, rest, _ := strings.Cut(line, " ")
		seq, err := strconv.Atoi(number)
		require.NoError(t, err, line)
		if i == 0 {
			first = seq
		}
		require.Equal(t, first+i, seq, "%s", line)
		if want := published[uint64(seq)]; want != "" && rest != want && !strings.HasPrefix(rest, want+" ") {
			if wrong++; wrong < 5 {
				assert.Fail(t, "another tick", "number %d: want %q, got %q", seq, want, rest)
			}
		}
	}
	cuts := 0
	for _, line := range py.said() {
		if strings.HasPrefix(line, "#") {
			cuts++
		}
	}
	t.Logf("%d ticks across %d restarts, %d failed connections told", len(all), restarts, cuts)
	audit.judge(t)
}

// none is v as Python prints it.
func none(v int64) string {
	if v == feed.NoPrice {
		return "None"
	}
	return strconv.FormatInt(v, 10)
}

// printed is the whole lines in the file.
func printed(t *testing.T, path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return nil
	}
	lines := strings.Split(string(b), "\n")
	return lines[:len(lines)-1]
}
