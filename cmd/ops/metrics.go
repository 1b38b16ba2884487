package ops

import (
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// How to add a metric:
//
//  1. The publisher sets a new number of publisher.Summary in roster.summarize (publisher/roster.go), or in Summary
//     (publisher/stats.go) if the roster does not have it.
//  2. It becomes a metric in publisher.go: a desc beside the others, and a line of Publisher.Metrics, or of Publisher.Details
//     if each connection has one. Label values must be bounded in number: a metric with a label for each value of a type, such
//     as publisher.Reason, also needs the list of these values, beside the descs.
//  3. "tickfeed top" shows what /overview sends: overview.go has a field for it, and package main of tickfeed draws that in
//     top_draw.go.
//
// Subscriptions and recordings have their metrics in subscriber.go, a replay in replay.go, and the rules of a lab in lab.go. A
// command adds a new collector to Metrics or Details of its Site.
//
// TestMetricsFollowTheConventions checks names and labels, TestAlertsAndDashboard what alerts.yml and dashboard.json use, and
// TestOverviewAndKick the overview. Each has sites of its own (sites_test.go), and so does cmd/tickfeed.

// A Collector adds metrics to a scrape. Its label values are bounded in number: nothing that a peer chooses is one, except
// among the details.
type Collector func(emit func(prometheus.Metric))

// Describe implements prometheus.Collector. It describes nothing, because the metrics of a command depend on its state.
func (Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c Collector) Collect(to chan<- prometheus.Metric) { c(func(m prometheus.Metric) { to <- m }) }

// Observed returns a Collector of what collects by itself, such as a histogram.
func Observed(c prometheus.Collector) Collector {
	return func(emit func(prometheus.Metric)) {
		metrics, done := make(chan prometheus.Metric), make(chan struct{})
		go func() {
			defer close(done)
			for m := range metrics {
				emit(m)
			}
		}()
		c.Collect(metrics)
		close(metrics)
		<-done
	}
}

// desc describes a metric of this program.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tickfeed_"+name, help, labels, nil)
}

// labelOf returns word, which may be several words, as the value of a label: with underscores for spaces, as in names.
func labelOf(word string) string { return strings.ReplaceAll(word, " ", "_") }

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// seconds returns a time in nanoseconds since the Unix epoch as Prometheus has it.
func seconds(ns int64) float64 { return time.Duration(ns).Seconds() }

var (
	descBuild = desc("build_info", "1; the labels describe this build and the command that runs.", "version", "command", "go")
	descReady = desc("ready", "1 if the command does its work, as /readyz says, by condition.", "check")
)

// Bounds of a scrape.
const (
	scrapes    = 2 // at the same time; others are refused with 503
	scrapeTime = 10 * time.Second
)

// metrics returns the handler of /metrics.
func (s *Site) metrics() func(x *exchange) {
	own := Collector(func(emit func(prometheus.Metric)) {
		emit(gauge(descBuild, 1, s.Version, s.Command, runtime.Version()))
		for _, c := range s.checks().Checks {
			emit(gauge(descReady, yes(c.Ok), c.Name))
		}
		s.Files.metrics(emit)
	})
	registry := func(more ...Collector) http.Handler {
		r := prometheus.NewPedanticRegistry()
		r.MustRegister(own, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		for _, c := range append(more, s.Metrics...) {
			r.MustRegister(c)
		}
		return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: scrapes, Timeout: scrapeTime, ErrorHandling: promhttp.HTTPErrorOnError})
	}
	few := registry()
	all := registry(append([]Collector{Observed(collectors.NewGoCollector())}, s.Details...)...)
	return func(x *exchange) {
		if x.query("detail") != nil {
			return
		}
		switch detail := x.r.URL.Query().Get("detail"); {
		case !wantsDetails(x.r):
			few.ServeHTTP(x.w, x.r)
		case detail == "1":
			all.ServeHTTP(x.w, x.r)
		default:
			x.fail(BadRequest("detail: want 1 or 0, got %q", detail))
		}
	}
}

// wantsDetails reports whether r asks for the metrics of each connection, which name clients.
func wantsDetails(r *http.Request) bool {
	detail := r.URL.Query()["detail"]
	return len(detail) > 0 && !(len(detail) == 1 && (detail[0] == "" || detail[0] == "0"))
}
