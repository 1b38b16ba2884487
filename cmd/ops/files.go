package ops

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tickfeed/codec/certs"
	"tickfeed/publisher/users"
)

// Files are the files that decide who may connect to a command; a field is nil if the command was given none.
type Files struct {
	TLS   *certs.Files
	Users *users.File
}

// ready returns the condition that clients accept the certificate in force at the time now. New files that cannot be used make
// nothing unready, because the ones before stay in force.
func (f *Files) ready(now time.Time) []Check {
	if f.TLS == nil {
		return nil
	}
	c := Check{Name: checkTLS, Ok: true}
	leaf, _ := f.TLS.Check()
	if err := f.TLS.Validity(leaf, now); err != nil {
		c.Ok, c.Detail = false, err.Error()
	}
	return []Check{c}
}

var (
	descExpiry = desc("certificate_expiry_time_seconds", "Time at which the certificate in force expires.")
	descUsable = desc("files_usable", "1 if the files are in force as they are on disk, 0 if they cannot be used and the ones before stay in force.", "files")
)

// metrics adds the metrics of the files that the command was given.
func (f *Files) metrics(emit func(prometheus.Metric)) {
	if f.TLS != nil {
		leaf, wrong := f.TLS.Check()
		emit(gauge(descExpiry, float64(leaf.NotAfter.Unix())))
		emit(gauge(descUsable, yes(wrong == nil), "certificate"))
	}
	if f.Users != nil {
		emit(gauge(descUsable, yes(f.Users.Check() == nil), "users"))
	}
}
