package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/feed"
)

var updateTop = flag.Bool("top.update", false, "write the frames of testdata/top again")

// topSamples returns two samples a second apart of a publisher with five subscribers.
func topSamples() (before, now *topSample) {
	began := time.Date(2026, 1, 5, 14, 30, 0, 0, time.UTC)
	sample := func(second int) *topSample {
		n := uint64(second)
		o := ops.Overview{
			Now: began.Add(time.Hour + time.Duration(second)*time.Second), Started: began, Source: "simulated market, seed 1", Session: feed.SessionID(0x2026a),
			Head: 1_000_000 + 10_000*n, Tail: 500_000 + 10_000*n, Committed: 1_000_000 + 10_000*n, Journal: 20_000_000, Memory: 40_000_000,
			Kept: ops.Kept{Full: 1}, Subscribers: 5, Handshakes: 1, Joined: 9, Returned: 3, Missing: 1, Left: map[string]uint64{"lost": 3, "slow": 1},
			Refused: map[string]uint64{"busy": 2}, Skipped: 4, Sent: 1_000_000 * n, Absent: []ops.Absence{{Name: "risk-2", Address: "10.0.0.7:40021", Position: 912_345}},
			Activity: ops.Recent{Slot: time.Second},
		}
		for i := range 30 {
			o.Activity.Ticks = append(o.Activity.Ticks, uint64(8000+i*100))
		}
		for i, name := range []string{"AAPL@SIM", "MSFT@SIM", "ESH6@SIM", "NVDA@SIM", "TSLA@SIM", "SPY@SIM"} {
			b := ops.Busy{Name: name, Total: uint64(9000 - 1000*i)}
			for k := range 30 {
				b.Ticks = append(b.Ticks, uint32((k*(i+3))%11))
			}
			o.Activity.Instruments = append(o.Activity.Instruments, b)
		}
		since := began.Add(10 * time.Minute)
		conn := func(number uint64, name string, lag uint64, behind time.Duration) ops.Conn {
			return ops.Conn{Number: number, Name: name, Address: fmt.Sprintf("10.0.0.%d:40001", number), Since: &since, Start: 1000, Position: o.Head - lag,
				Confirmed: o.Head - lag - 10, LagTicks: lag, LagTime: behind, Policy: "all", Bytes: 200_000 * n, Echo: 1300 * time.Microsecond}
		}
		desk, risk := conn(1, "desk-1", 0, 0), conn(2, "risk-1", 100_000+5_000*n, 10*time.Second+time.Duration(second)*500*time.Millisecond)
		screen, feeder := conn(3, "screen", 2_000+1_000*n, 2*time.Second+time.Duration(second)*time.Second), conn(4, "a client with a long name of its own", 30_000-10_000*n, 3*time.Second-time.Duration(second)*time.Second)
		screen.Policy, screen.MaxLag, screen.Filter, screen.User = "latest", 5*time.Second, []string{"AAPL", "ES*"}, "futures-desk"
		screen.Granted, screen.Depth, screen.Limits = []string{"ES*"}, "l1", "user futures-desk may not see more than ES*, nor the levels of the book"
		evil := conn(5, "\x1b[31mevil\n", 1, time.Microsecond)
		return &topSample{"publish", o, []ops.Conn{risk, feeder, screen, evil, desk}}
	}
	return sample(0), sample(1)
}

// A frame is a function of two samples, a size and a view; the files of testdata/top show it, with the colour of each line.
func TestTopFrames(t *testing.T) {
	names := map[colour]string{plain: "", bold: "bold", dim: "dim", reverse: "reverse", red: "red", yellow: "yellow"}
	before, now := topSamples()
	restarted, _ := topSamples()
	restarted.overview.Session++
	_, quiet := topSamples()
	quiet.conns, quiet.overview.Subscribers, quiet.overview.Missing, quiet.overview.Activity.Instruments = nil, 0, 0, nil
	_, waits := topSamples()
	waits.overview.Disk, waits.overview.Kept = "no space left on device", ops.Kept{}
	_, draining := topSamples()
	draining.overview.Draining, draining.overview.Kept = true, ops.Kept{For: 20 * time.Second}
	_, returned := topSamples()
	for i := range returned.conns {
		returned.conns[i].Number += 5
	}
	_, crowded := topSamples()
	o := &crowded.overview
	o.Source = "recordings/2026-01-05/nasdaq/morning.tick.zst and 11 more, of the venues XNAS and ARCX"
	o.Disk = "write journal/feed-000000000042.tick: no space left on device; publishing goes on once there is room"
	o.Left = map[string]uint64{"lost": 1234, "slow": 1, "goodbye": 20_000, "silent": 17, "denied": 2, "kicked": 1}
	o.Refused = map[string]uint64{"busy": 12_345, "unauthorized": 678, "denied": 90, "version": 2, "bad request": 3, "protocol": 4}
	o.Absent[0].Name = "the risk engine of the second desk, on the standby machine"
	o.Absent[0].Address = "[2001:db8:85a3::8a2e:370:7334]:40021"
	crowded.conns[1].Address = "[2001:db8:85a3::8a2e:370:7334]:40001"
	crowded.conns[2].Filter = strings.Split(strings.Repeat("AAPL@XNAS ES*@XCME ", 6)+"END@XNAS", " ")
	for _, test := range []struct {
		name          string
		now, before   *topSample
		width, height int
		view          topView
	}{
		{"plain", now, before, 80, 24, topView{}},
		{"narrow", now, before, 40, 16, topView{}},
		{"wide", now, before, 130, 30, topView{order: 1, chosen: 3}},
		{"low", now, before, 80, 12, topView{chosen: 1}},
		{"tiny", now, before, 10, 3, topView{}},
		{"first", now, nil, 80, 24, topView{}},
		{"restarted", now, restarted, 80, 24, topView{problem: "cannot reach a command at localhost:8427: connection refused"}},
		{"details", now, before, 80, 24, topView{chosen: 3, details: true}},
		{"loses", now, before, 80, 24, topView{chosen: 2, details: true, kicking: true}},
		{"ended", now, before, 80, 24, topView{chosen: 99, details: true}},
		{"returned", returned, before, 80, 24, topView{chosen: 2, details: true, last: &ops.Conn{Number: 2, Name: "desk-1", Address: "10.0.0.1:39999"}}},
		{"filter", now, before, 80, 24, topView{filter: "es-desk", order: 3}},
		{"typing", now, before, 80, 24, topView{filter: "nobody", typing: true}},
		{"quiet", quiet, before, 80, 24, topView{note: "connection 7 is ended, and its client asked to come back"}},
		{"waits", waits, before, 80, 24, topView{}},
		{"draining", draining, before, 80, 24, topView{order: 2}},
		{"crowded", crowded, before, 80, 30, topView{}},
		{"patterns", crowded, before, 80, 30, topView{chosen: 3, details: true}},
		{"once", now, before, 80, 0, topView{order: 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b strings.Builder
			lines := compose(test.now, test.before, &test.view).lines(test.width, test.height, &test.view)
			for _, line := range lines {
				assert.LessOrEqual(t, cells(line.text), test.width, line.text)
				fmt.Fprintf(&b, "%-7s|%s\n", names[line.colour], strings.TrimRight(line.text, " "))
			}
			if test.height > 0 {
				assert.Len(t, lines, test.height)
			}
			assert.NotContains(t, b.String(), "\x1b")
			path := filepath.Join("testdata", "top", test.name+".txt")
			if *updateTop {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(want), b.String())
		})
	}
}

// The fate of a subscriber that keeps falling behind follows from the ticks that are kept and from its policy.
func TestTopFate(t *testing.T) {
	now := ops.Conn{Policy: "all", LagTicks: 3000, LagTime: 3 * time.Second}
	was := ops.Conn{Policy: "all", LagTicks: 1000, LagTime: time.Second}
	o := ops.Overview{Head: 10_000, Tail: 1000}
	for name, test := range map[string]struct {
		change func(c *ops.Conn, o *ops.Overview)
		fate   topFate
		in     time.Duration
	}{
		"everything is kept":      {func(*ops.Conn, *ops.Overview) {}, fateNever, maxFate},
		"the memory is full":      {func(_ *ops.Conn, o *ops.Overview) { o.Kept.Full = 1 }, fateLoss, 3 * time.Second},           // (9000 - 3000) / 2000
		"the memory is half full": {func(_ *ops.Conn, o *ops.Overview) { o.Kept.Full = 0.5 }, fateLoss, 7500 * time.Millisecond}, // (18000 - 3000) / 2000
		"a minute is kept":        {func(_ *ops.Conn, o *ops.Overview) { o.Kept.For = time.Minute }, fateLoss, 28500 * time.Millisecond},
		"the nearer of two":       {func(_ *ops.Conn, o *ops.Overview) { o.Kept = ops.Kept{Full: 1, For: time.Minute} }, fateLoss, 3 * time.Second},
		"too late":                {func(c *ops.Conn, o *ops.Overview) { c.LagTicks, o.Kept.Full = 9500, 1 }, fateLoss, 0},
		"it catches up":           {func(c *ops.Conn, o *ops.Overview) { c.LagTicks, o.Kept.Full = 900, 1 }, fateNone, 0},
		"noise":                   {func(c *ops.Conn, o *ops.Overview) { c.LagTime, o.Kept.Full = time.Millisecond, 1 }, fateNone, 0},
		"it will skip":            {func(c *ops.Conn, o *ops.Overview) { c.Policy, c.MaxLag = "latest", 5*time.Second }, fateSkip, time.Second},
		"it will be cut":          {func(c *ops.Conn, o *ops.Overview) { c.Policy, c.MaxLag = "disconnect", 4*time.Second }, fateCut, 500 * time.Millisecond},
		"latest, and catches up":  {func(c *ops.Conn, o *ops.Overview) { c.Policy, c.LagTime = "latest", 900*time.Millisecond }, fateNone, 0},
	} {
		c, kept := topConn{Conn: now}, o
		test.change(&c.Conn, &kept)
		c.Growth = float64(c.LagTicks) - float64(was.LagTicks)
		fate, in := fate(&c, &was, &kept, 1)
		assert.Equal(t, test.fate, fate, name)
		assert.Equal(t, test.in, in, name)
	}
}

// Subscribers that are not felt to be behind are sorted by name, whatever their lag is at the moment.
func TestTopOrderOfHealthySubscribers(t *testing.T) {
	names := func(v topView, lags ...time.Duration) (names string) {
		s := &topSample{}
		for i, lag := range lags {
			s.conns = append(s.conns, ops.Conn{Number: uint64(i + 1), Name: string("cbad"[i]), LagTicks: uint64(lag / time.Millisecond), LagTime: lag})
		}
		for _, c := range compose(s, nil, &v).Conns {
			names += c.Name
		}
		return names
	}
	for order := range 2 { // lag, time to loss
		v := topView{order: order}
		assert.Equal(t, "abcd", names(v, 3*time.Millisecond, 2*time.Millisecond, 50*time.Millisecond, 0))
		assert.Equal(t, "abcd", names(v, 0, 60*time.Millisecond, time.Millisecond, 99*time.Millisecond))
		assert.Equal(t, "cbad", names(v, 300*time.Millisecond, 200*time.Millisecond, 0, 0))
	}
}

// A connection is shown by its user, or else by the name in its certificate, or else by the name that the client gives itself; filters
// and the order by name go by the same.
func TestTopShowsWhoIsConnected(t *testing.T) {
	before, now := topSamples()
	now.conns = []ops.Conn{{Number: 1, Name: "zed"}, {Number: 2, Name: "tickfeed", Certificate: "yard.example"}, {Number: 3, Name: "tickfeed", Certificate: "x.example", User: "xenon"}}
	v := topView{}
	f := compose(now, before, &v)
	var names []string
	for _, c := range f.Conns {
		names = append(names, c.Who())
	}
	assert.Equal(t, []string{"xenon", "yard.example", "zed"}, names)
	screen := fmt.Sprint(f.lines(80, 40, &v))
	for _, want := range names {
		assert.Contains(t, screen, want)
	}
	v.filter = "yard"
	assert.Len(t, compose(now, before, &v).Conns, 1)
}

// The details of a connection that has ended remember whose it was, and offer no kick.
func TestTopDetailsOfAnEndedConnection(t *testing.T) {
	before, now := topSamples()
	w := &watching{now: before, view: topView{chosen: 3, details: true}}
	now.conns = slices.DeleteFunc(now.conns, func(c ops.Conn) bool { return c.Number == 3 })
	w.take(asked{sample: now})
	assert.Equal(t, "screen", w.view.last.Name)
	w.view.press('k', w.frame())
	assert.False(t, w.view.kicking)
	assert.Contains(t, w.view.note, "connection 3 has ended")
}

// Keys choose, filter, sort and kick; a kick wants a confirmation.
func TestTopKeys(t *testing.T) {
	before, now := topSamples()
	v := topView{}
	press := func(keys ...keystroke) (kick, quit bool) {
		for _, k := range keys {
			kick, quit = v.press(k, compose(now, before, &v))
		}
		return kick, quit
	}
	press('k')
	assert.Equal(t, "choose a connection with the arrow keys first", v.note)
	press(keyDown, keyDown, keyUp, keyUp, keyUp)
	assert.EqualValues(t, 2, v.chosen, "the first by lag")
	press(keyDown)
	assert.EqualValues(t, 4, v.chosen)
	press(keyEnter, keyDown)
	assert.True(t, v.details)
	assert.EqualValues(t, 3, v.chosen)
	kick, quit := press('k', 'n')
	assert.False(t, kick || quit)
	kick, quit = press('k', 'y')
	assert.True(t, kick)
	assert.False(t, quit)
	press(keyEscape)
	assert.False(t, v.details)
	press('/', 'r', 'i', 's', 'k', 'q', keyErase, keyEnter)
	assert.Equal(t, topView{filter: "risk", chosen: 3}, v)
	press(keyUp)
	assert.EqualValues(t, 2, v.chosen, "the only one that matches")
	press(keyEscape, 's')
	assert.Equal(t, topView{order: 1}, v)
	for range len(topOrders) {
		press('s')
	}
	assert.Equal(t, 1, v.order)
	press('/', 'x', keyEscape)
	assert.Empty(t, v.filter)
	_, quit = press('q')
	assert.True(t, quit)
	_, quit = press('/', keyCtrlC)
	assert.True(t, quit)
	quiet := topView{}
	quiet.press(keyDown, nil)
	assert.Zero(t, quiet.chosen)
}

// top prints one frame, as text or JSON, if standard output is no terminal, and says what is wrong with its address.
func TestTopOnce(t *testing.T) {
	dir := t.TempDir()
	pub := startCommand(t, dir, "publish", "--rate", "1k", "--instruments", "5", "--listen", "unix:feed", "--http", "unix:http")
	pub.says(t, "(?s)listening.*http")
	startCommand(t, dir, "subscribe", "unix:feed", "--quiet", "--symbols", "AAPL").says(t, "live: ")
	c := startCommand(t, dir, "top", "unix:http", "--interval", "200ms")
	require.Equal(t, exitDone, c.exit(t), c.err.String())
	assert.Regexp(t, `^publish  simulated market, seed 1 +up `, c.out.String())
	assert.Regexp(t, `(?s)1 subscriber .*\n +1 tickfeed \(devel\) .*\nAAPL@SIM`, c.out.String())
	assert.NotContains(t, c.out.String(), "\x1b")

	c = startCommand(t, dir, "top", "unix:http", "--json", "--interval", "200ms", "--filter", "nobody")
	require.Equal(t, exitDone, c.exit(t), c.err.String())
	var f topFrame
	require.NoError(t, json.Unmarshal([]byte(c.out.String()), &f))
	assert.Equal(t, 1, f.Overview.Subscribers)
	assert.Empty(t, f.Conns)
	assert.Len(t, f.Instruments, 5)
	assert.Positive(t, f.Overview.Head)

	lab := startCommand(t, dir, "lab", "--upstream", "unix:feed", "--listen", "unix:lab", "--http", "unix:labhttp")
	lab.says(t, "(?s)listening.*HTTP")
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"unix:labhttp"}, exitUsage, "unix:labhttp is a tickfeed lab, and top shows a publish or a replay"},
		{[]string{"unix:none"}, exitFailure, "cannot reach a command at unix:none"},
		{[]string{"--sort", "age"}, exitUsage, "--sort must be lag, time to loss, bytes, name, newest"},
		{[]string{"--interval", "1ms"}, exitUsage, "--interval must be from 100ms"},
	} {
		c := startCommand(t, dir, append([]string{"top"}, test.args...)...)
		assert.Equal(t, test.code, c.exit(t), "%v", test.args)
		assert.Contains(t, c.err.String(), test.says)
	}
}
