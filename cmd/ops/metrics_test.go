package ops_test

import (
	encoding "encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/codec/certs"
	"tickfeed/codec/certs/certstest"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
	"tickfeed/publisher/publishertest"
	"tickfeed/publisher/users"
	"tickfeed/subscriber"
)

// scrape returns what /metrics of a command responds.
func (w *world) scrape(t testing.TB, command, query string) string {
	t.Helper()
	r := w.ask(command, "GET", "/metrics"+query, "")
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, 200, r.StatusCode, string(b))
	return string(b)
}

// seriesOf returns the names of the series in a response, each with its labels.
func seriesOf(text string) map[string][]string {
	all := make(map[string][]string)
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? \S+$`).FindAllStringSubmatch(text, -1) {
		all[m[1]] = append(all[m[1]], m[2])
	}
	return all
}

// The metrics of each command follow the conventions of Prometheus, and without ?detail=1 there are few, none of which has a
// label that a peer chooses.
func TestMetricsFollowTheConventions(t *testing.T) {
	w := newWorld(t)
	for command := range w.sites {
		few, all := w.scrape(t, command, ""), w.scrape(t, command, "?detail=1")
		problems, err := promlint.New(strings.NewReader(all)).Lint()
		require.NoError(t, err)
		for _, p := range problems {
			if strings.HasPrefix(p.Metric, "tickfeed_") {
				t.Errorf("%s: %s: %s", command, p.Metric, p.Text)
			}
		}
		assert.Less(t, len(few), 10_000, command)
		assert.NotContains(t, few, "<script", command)
		assert.NotContains(t, few, "connection=", command)
		assert.NotContains(t, few, "go_goroutines", command)
		assert.Contains(t, all, "go_goroutines", command)
		assert.Contains(t, few, `tickfeed_build_info{command="`+command+`"`)
	}
	all := w.scrape(t, "publish", "?detail=1")
	assert.Regexp(t, `tickfeed_connection_lag_ticks\{client="<script>.*",connection="\d+"\} 0\n`, all)
	assert.Contains(t, all, "\ntickfeed_published_ticks_total 101\n")
	assert.Contains(t, all, "\ntickfeed_head_seq 102\n")
	assert.Contains(t, all, "\ntickfeed_subscribers 1\n")
	assert.Contains(t, w.scrape(t, "subscribe", ""), "\ntickfeed_subscription_numbers{outcome=\"delivered\"} 101\n")
	assert.Contains(t, w.scrape(t, "lab", "?detail=1"), "\ntickfeed_lab_rule_faults_total{rule=\"1\",text=\"on storm: cut rst\"} 0\n")
}

// Every metric that an alert or a panel names, and every label that it chooses by, is in what the commands respond. Vectors that
// an operator joins have the same labels: otherwise Prometheus joins nothing, and says nothing. Every alert has a summary.
func TestAlertsAndDashboard(t *testing.T) {
	w := newWorld(t)
	_, err := w.rules.Trigger("storm") // so that there is a recovery
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(w.scrape(t, "subscribe", ""), "tickfeed_recoveries_total") }, patience, time.Millisecond)
	refuse(t, w.server)
	w.sites["publish"].Files, _ = newFiles(t)
	known := make(map[string][]string)
	for command := range w.sites {
		for name, labels := range seriesOf(w.scrape(t, command, "")) {
			known[name] = append(known[name], labels...)
		}
	}

	known["up"] = []string{""} // Prometheus makes it at each scrape, also of a process that is gone

	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For string
				Labels           map[string]string
				Annotations      map[string]string
			}
		}
	}
	b, err := os.ReadFile("alerts.yml")
	require.NoError(t, err)
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	d.KnownFields(true)
	require.NoError(t, d.Decode(&rules))
	exprs := make(map[string]string)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			require.NotContains(t, exprs, r.Alert, "two alerts of one name")
			exprs[r.Alert] = r.Expr
			assert.NotEmpty(t, r.Annotations["summary"], r.Alert)
			assert.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
			if r.For != "" {
				_, err := time.ParseDuration(r.For)
				assert.NoError(t, err, r.Alert)
			}
		}
	}
	assert.GreaterOrEqual(t, len(exprs), 15)
	assert.Regexp(t, `^up\{.*\} == 0$`, exprs["TickfeedDown"], "no metric of a process says that the process is gone")
	assert.Regexp(t, `^absent\(up\{`, exprs["TickfeedAbsent"], "nor that its target is")
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Definition string } }
	}
	b, err = os.ReadFile("dashboard.json")
	require.NoError(t, err)
	require.NoError(t, encoding.Unmarshal(b, &board))
	for _, p := range board.Panels {
		for i, target := range p.Targets {
			exprs["panel "+p.Title+" "+string(rune('A'+i))] = target.Expr
		}
	}
	for _, v := range board.Templating.List {
		exprs["variable "+v.Definition] = v.Definition
	}
	metric := regexp.MustCompile(`\b(up|(?:tickfeed|process|go)_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher := regexp.MustCompile(`([a-z]+)(=~|=)"([^"]*)"`)
	used := 0
	for where, expr := range exprs {
		if !strings.HasPrefix(where, "variable ") {
			_, err := vectorOf(known, expr)
			assert.NoError(t, err, "%s: %s", where, expr)
		}
		for _, m := range metric.FindAllStringSubmatch(expr, -1) {
			used++
			series, ok := known[m[1]]
			if !assert.True(t, ok, "%s: no command has the metric %s", where, m[1]) {
				continue
			}
			for _, c := range matcher.FindAllStringSubmatch(m[2], -1) {
				if c[1] == "instance" || c[1] == "job" { // Prometheus adds these
					continue
				}
				for value := range strings.SplitSeq(c[3], "|") {
					assert.True(t, slices.ContainsFunc(series, func(labels string) bool { return strings.Contains(labels, c[1]+`="`+value+`"`) }),
						"%s: no series of %s has %s=%q", where, m[1], c[1], value)
				}
			}
		}
		for _, by := range regexp.MustCompile(`\b(?:by|on|ignoring) \(([a-z, ]+)\)`).FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(by[1], ", ") {
				assert.True(t, label == "instance" || strings.Contains(strings.Join(slices.Concat(seriesValues(known)...), " "), label+`="`), "%s: no series has the label %s", where, label)
			}
		}
	}
	assert.Greater(t, used, 50)
}

func seriesValues(known map[string][]string) (all [][]string) {
	for _, labels := range known {
		all = append(all, labels)
	}
	return all
}

// refuse makes the publisher refuse a client.
func refuse(t *testing.T, s *publishertest.Server) {
	t.Helper()
	nc := dialTCP(t, s.Addr)
	hello, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version + 1, MaxVersion: codec.Version + 1})
	require.NoError(t, err)
	_, err = nc.Write(hello)
	require.NoError(t, err)
	_, _ = io.ReadAll(nc)
	require.Eventually(t, func() bool { return len(s.Publisher().Summary().Refused) > 0 }, patience, time.Millisecond)
}

// Every refusal is counted by its code, also that of a client that comes while the publisher is being drained, and the values of
// labels are words without spaces.
func TestRefusalsAreCountedByCode(t *testing.T) {
	w := newWorld(t)
	pub := w.server.Publisher()
	_, err := pub.Drain(time.Minute)
	require.NoError(t, err)
	hello, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version, Start: codec.Start{Kind: codec.StartSnapshot}})
	require.NoError(t, err)
	nc := dialTCP(t, w.server.Addr)
	_, err = nc.Write(hello)
	require.NoError(t, err)
	_, _ = io.ReadAll(nc)
	require.Eventually(t, func() bool { return pub.Summary().Refused[codec.CodeShutdown] == 1 }, patience, time.Millisecond)
	all := w.scrape(t, "publish", "")
	assert.Contains(t, all, "\ntickfeed_refusals_total{code=\"shutdown\"} 1\n")
	assert.Contains(t, all, "\ntickfeed_refusals_total{code=\"bad_request\"} 0\n")
	subs := ops.NewSubscriptions()
	subs.Note(&subscriber.Report{Cause: subscriber.CauseCut, Resume: subscriber.ResumeNewSession})
	w.sites["recovered"] = &ops.Site{Command: "recovered", Metrics: []ops.Collector{subs.Metrics}}
	assert.Contains(t, w.scrape(t, "recovered", ""), "resume=\"new_session\"")
	for command := range w.sites {
		for name, series := range seriesOf(w.scrape(t, command, "")) {
			for _, labels := range series {
				if strings.HasPrefix(name, "tickfeed_") && name != "tickfeed_build_info" {
					assert.NotContains(t, labels, " ", name)
				}
			}
		}
	}
}

// A publisher is ready while its head moves, and after that as long as there is a reason for which it does not: the source has
// ended, the market is closed, or the replay is paused.
func TestPublisherIsReadyWhileTheHeadMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, err := publisher.New(publisher.Config{})
		require.NoError(t, err)
		defer func() { assert.NoError(t, pub.Close(t.Context())) }()
		view := ops.NewPublisher(pub, time.Minute)
		ready := func() (bool, string) {
			for _, c := range view.Ready() {
				if !c.Ok {
					return false, c.Detail
				}
			}
			return true, view.Ready()[1].Detail
		}
		expect := func(ok bool, detail string) {
			t.Helper()
			gotOk, got := ready()
			assert.Equal(t, ok, gotOk, got)
			assert.Equal(t, detail, got)
		}
		expect(true, "")
		time.Sleep(61 * time.Second)
		expect(false, "no tick was published for 1m1s, and the market is not closed")
		id, err := pub.Define(t.Context(), feed.Definition{Symbol: "AAPL", PriceExponent: -2})
		require.NoError(t, err)
		other, err := pub.Define(t.Context(), feed.Definition{Symbol: "MSFT", PriceExponent: -2})
		require.NoError(t, err)
		say := func(id feed.InstrumentID, s feed.Status) {
			require.NoError(t, pub.Publish(t.Context(), []feed.Tick{feed.StatusTick(id, time.Now().UnixNano(), s, 0)}))
			require.NoError(t, pub.Flush(t.Context()))
		}
		expect(true, "")
		say(id, feed.StatusTrading)
		say(other, feed.StatusClosed)
		time.Sleep(time.Minute)
		expect(true, "")
		time.Sleep(time.Second)
		expect(false, "no tick was published for 1m1s, and the market is not closed")
		say(id, feed.StatusClosed)
		time.Sleep(24 * time.Hour)
		expect(true, "the market is closed")
		say(id, feed.StatusHalted)
		time.Sleep(2 * time.Minute)
		expect(false, "no tick was published for 2m0s, and the market is not closed")
		view.Paused = func() string { return "paused" }
		expect(true, "paused")
		view.Paused = nil
		require.NoError(t, pub.End(t.Context()))
		expect(true, "the source has ended")
	})
}

// A wall clock that is wrong does not make a publisher ready whose head does not move, nor unready one whose head does.
func TestReadinessIsIndependentOfTheWallClock(t *testing.T) {
	for _, wrong := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			pub, err := publisher.New(publisher.Config{Now: func() int64 { return time.Now().Add(wrong).UnixNano() }})
			require.NoError(t, err)
			defer func() { assert.NoError(t, pub.Close(t.Context())) }()
			view := ops.NewPublisher(pub, time.Minute)
			id, err := pub.Define(t.Context(), feed.Definition{Symbol: "AAPL", PriceExponent: -2})
			require.NoError(t, err)
			say := func() {
				require.NoError(t, pub.Publish(t.Context(), []feed.Tick{feed.StatusTick(id, time.Now().UnixNano(), feed.StatusTrading, 0)}))
				require.NoError(t, pub.Flush(t.Context()))
			}
			say()
			assert.True(t, view.Moves(), wrong)
			time.Sleep(50 * time.Second)
			say()
			assert.True(t, view.Moves(), wrong)
			time.Sleep(30 * time.Second)
			assert.True(t, view.Moves(), wrong)
			time.Sleep(31 * time.Second)
			assert.False(t, view.Moves(), wrong)
			say()
			assert.True(t, view.Moves(), wrong)
		})
	}
}

// A failed check gives the status 503, and shows in the metrics.
func TestReadyzFailsWithACheck(t *testing.T) {
	w := newWorld(t)
	for command := range w.sites {
		r := w.ask(command, "GET", "/readyz", "")
		b, _ := io.ReadAll(r.Body)
		assert.Equal(t, 200, r.StatusCode, "%s: %s", command, b)
	}
	w.sites["lab"].Ready = func() []ops.Check {
		return []ops.Check{{Name: "upstream", Detail: "connection refused\n"}, {Name: "other", Ok: true}}
	}
	r := w.ask("lab", "GET", "/readyz?format=text", "")
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	assert.Equal(t, 503, r.StatusCode)
	assert.Equal(t, "upstream: FAILED, connection refused\\n\nother: ok\nnot ready\n", string(b))
	assert.Equal(t, 200, w.ask("lab", "GET", "/livez", "").StatusCode)
	assert.Contains(t, w.scrape(t, "lab", ""), "tickfeed_ready{check=\"upstream\"} 0\n")
}

// newFiles returns the files of a publisher with TLS and users, and their directory.
func newFiles(t *testing.T) (ops.Files, string) {
	t.Helper()
	dir := t.TempDir()
	cert, key := certstest.NewAuthority("here").Issue(certstest.Want{Names: []string{"feed"}, NotAfter: time.Now().Add(time.Hour)}).Write(dir, "feed")
	tls, err := certs.Server{Cert: cert, Key: key}.Open()
	require.NoError(t, err)
	list, err := users.Open(certstest.WriteFile(dir, "users.yml", []byte("- {name: a, san: a}\n")), nil)
	require.NoError(t, err)
	return ops.Files{TLS: tls, Users: list}, dir
}

// New files that cannot be used are in the metrics, and the command stays ready. Once the certificate in force has expired, it is not.
func TestFilesThatCannotBeUsedAreInTheMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		files, dir := newFiles(t)
		w := &world{sites: map[string]*ops.Site{"test": {Command: "test", Files: files}}}
		expect := func(status, certificate, list int) {
			t.Helper()
			assert.Equal(t, status, w.ask("test", "GET", "/readyz", "").StatusCode)
			text := w.scrape(t, "test", "")
			assert.Contains(t, text, fmt.Sprintf("tickfeed_ready{check=\"certificate\"} %d\n", map[int]int{200: 1, 503: 0}[status]))
			assert.Contains(t, text, fmt.Sprintf("tickfeed_files_usable{files=\"certificate\"} %d\n", certificate))
			assert.Contains(t, text, fmt.Sprintf("tickfeed_files_usable{files=\"users\"} %d\n", list))
			assert.Contains(t, text, fmt.Sprintf("tickfeed_certificate_expiry_time_seconds %v\n", float64(now.Add(time.Hour).Unix())))
		}
		expect(200, 1, 1)
		certstest.WriteFile(dir, "feed.key", []byte("no key"))
		certstest.WriteFile(dir, "users.yml", []byte("- name: a\n"))
		time.Sleep(time.Second) // a file of users is not read again more often
		expect(200, 0, 0)
		time.Sleep(time.Hour)
		expect(503, 0, 0)
	})
}

// Connections are sorted and limited as the request says, those that are furthest behind first.
func TestConnzIsSortedAndLimited(t *testing.T) {
	began := time.Now().Add(-2 * time.Hour)
	at := func(s int) *time.Time { t := began.Add(-time.Duration(10-s) * time.Second); return &t }
	site := ops.Site{Command: "test", Conns: func() []ops.Conn {
		return []ops.Conn{
			{Number: 1, Name: "b", Address: "z", LagTicks: 5, Bytes: 1, Position: 20, Since: at(3)},
			{Number: 3, Name: "c", Address: "y", LagTicks: 7, Bytes: 2, Position: 18, Since: at(1), Filter: make([]string, 30)},
			{Number: 2, Name: "a", Address: "x", LagTicks: 5, Bytes: 9, Position: 21, Since: at(2), Policy: "latest", MaxLag: 2 * time.Second},
		}
	}}
	w := &world{sites: map[string]*ops.Site{"test": &site}}
	for query, want := range map[string][]int{
		"": {3, 1, 2}, "?sort=lag&limit=2": {3, 1}, "?sort=bytes": {2, 3, 1}, "?sort=position": {3, 1, 2}, "?sort=connection": {1, 2, 3}, "?sort=name": {2, 1, 3},
		"?sort=address": {2, 3, 1}, "?sort=since": {1, 2, 3},
	} {
		var answer struct {
			Total int
			Conns []struct {
				Connection int
				Filter     []string
			} `json:"connections"`
		}
		require.NoError(t, encoding.NewDecoder(w.ask("test", "GET", "/connz"+query, "").Body).Decode(&answer))
		var got []int
		for _, c := range answer.Conns {
			got = append(got, c.Connection)
			assert.LessOrEqual(t, len(c.Filter), 21)
		}
		assert.Equal(t, want, got, query)
		assert.Equal(t, 3, answer.Total)
	}
	b, err := io.ReadAll(w.ask("test", "GET", "/connz?format=text&limit=1&sort=name", "").Body)
	require.NoError(t, err)
	assert.Equal(t, "1 of 3 connections, by name\n"+
		"CONN  NAME  ADDRESS  STATE  FOR  POSITION  LAG  TIME  POLICY     BYTES  FILTER\n"+
		"2     a     x        live   2h   21        5    0s    latest 2s  9      *\n", string(b))
}

// The table shows the instruments that a connection is sent: those that it asked for, with the limits of its user. JSON has both.
func TestConnectionsShowWhatIsInForce(t *testing.T) {
	for want, c := range map[string]ops.Conn{
		"*":               {},
		"AAPL,ES*":        {Filter: []string{"AAPL", "ES*"}},
		"ES?6,NQ?6":       {Granted: []string{"ES?6", "NQ?6"}, Limits: "no more"},
		"MSFT, not AAPL":  {Filter: []string{"AAPL", "MSFT"}, Granted: []string{"MSFT"}, Denied: []string{"AAPL"}, Limits: "not AAPL"},
		"*, not AAPL, l1": {Granted: []string{"?*"}, Denied: []string{"AAPL"}, Depth: "l1", Limits: "not AAPL"},
		"A*, l1":          {Filter: []string{"A*"}, Granted: []string{"A*"}, Depth: "l1", Limits: "no levels"},
		"A*,B*, limited":  {Filter: []string{"A*", "B*"}, Granted: []string{"A*", "B*"}, Limits: "not what is hard to compare"},
	} {
		w := &world{sites: map[string]*ops.Site{"test": {Command: "test", Conns: func() []ops.Conn { return []ops.Conn{c} }}}}
		b, err := io.ReadAll(w.ask("test", "GET", "/connz?format=text", "").Body)
		require.NoError(t, err)
		assert.Contains(t, string(b), "  "+want+"\n")
		var list struct{ Connections []ops.Conn }
		require.NoError(t, encoding.NewDecoder(w.ask("test", "GET", "/connz", "").Body).Decode(&list))
		got := list.Connections[0]
		assert.Equal(t, [][]string{c.Filter, c.Granted, c.Denied, {c.Depth, c.Limits}}, [][]string{got.Filter, got.Granted, got.Denied, {got.Depth, got.Limits}})
	}
}

// The table of connections fits a terminal: what says nothing is left out, long texts are cut, and of a table that is still too wide
// the columns that matter less are left out. Without a width, nothing is. A connection that lags is behind, and numbers have commas.
func TestConnectionsFitTheScreen(t *testing.T) {
	since := time.Now().Add(-50 * time.Hour)
	long := ops.Conn{
		Number: 123_456, Name: strings.Repeat("n", 60), User: strings.Repeat("u", 60), Address: "[2001:db8:85a3::8a2e:370:7334]:40021", Since: &since, Position: 12_345_678_901,
		LagTicks: 1_234_567, LagTime: 75 * time.Second, Policy: "disconnect", MaxLag: 90 * time.Second, Bytes: 1 << 40, Filter: []string{strings.Repeat("A", 60), "B"},
	}
	usual := ops.Conn{Number: 1, Name: "tickfeed (devel)", User: "desk", Address: "127.0.0.1:33718", Since: &since, Position: 13_691, Policy: "all", Bytes: 6629, LagTicks: 12}
	for _, test := range []struct {
		conns []ops.Conn
		want  []string
	}{
		{[]ops.Conn{usual}, []string{"1     tickfeed (devel)  desk  127.0.0.1:33718  live   2d   13,691    12   0s    all     *\n"}},
		{[]ops.Conn{long}, []string{"behind", "1,234,567  1m15s", "disconnect 1m30s", "nnn…", "uuu…", "[2001:db8"}},
		{[]ops.Conn{usual, long}, []string{"behind", "live", "1,234,567  1m15s"}},
		{[]ops.Conn{{Number: 1, Name: "new", Certificate: "desk.example"}}, []string{"CONN  NAME  CERTIFICATE   STATE  LAG  TIME  FILTER\n1     new   desk.example  live   0    0s    *\n"}},
		{[]ops.Conn{{Number: 1, Name: "new"}}, []string{"CONN  NAME  STATE  LAG  TIME  FILTER\n1     new   live   0    0s    *\n"}},
	} {
		w := &world{sites: map[string]*ops.Site{"test": {Command: "test", Conns: func() []ops.Conn { return test.conns }}}}
		var list ops.ConnList
		require.NoError(t, encoding.NewDecoder(w.ask("test", "GET", "/connz", "").Body).Decode(&list))
		table := list.Table(100)
		for line := range strings.Lines(table) {
			assert.LessOrEqual(t, utf8.RuneCountInString(line)-1, 100, line)
		}
		for _, want := range test.want {
			assert.Contains(t, table, want)
		}
		b, err := io.ReadAll(w.ask("test", "GET", "/connz?format=text", "").Body)
		require.NoError(t, err)
		assert.NotContains(t, string(b), "…")
		for _, c := range test.conns {
			assert.Contains(t, string(b), c.Name+" ")
			if c.Bytes > 0 {
				assert.Contains(t, string(b), nouns.Thousands(c.Bytes), "a pipe has no width")
			}
		}
	}
}
