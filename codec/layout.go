package codec

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tickfeed/feed"
)

// A Message is a control message: *Hello, *Welcome and so on. Packets and snapshot
// parts are not Messages: they have a fixed layout and their own functions.
type Message interface {
	Type() Type
	// layout passes the elements after the type to w, in the order of PROTOCOL.md. It is
	// the only description of the message's wire form and of the bounds of its fields, for writing and for reading.
	layout(w wire)
}

// A wire is an encoder or a decoder: each call writes *v without changing it, or reads
// into *v. After the first error, calls do nothing.
type wire interface {
	reading() bool
	uint(field string, v *uint64)
	int(field string, v *int64)
	bool(field string, v *bool)
	text(field string, v *string, most int)
	// more reports whether the message has a further, optional element. When writing, it returns wanted.
	more(wanted bool) bool
	// wideUint and wideInt are uint and int, but always write nine bytes.
	wideUint(field string, v *uint64)
	wideInt(field string, v *int64)
	// open begins an array of n elements, at most most; when reading, it returns the number of
	// elements. Each open needs a close.
	open(field string, n, most int) int
	close()
	// invalid makes the wire fail with a FieldError.
	invalid(field, format string, args ...any)
}

// A FieldError reports a field of a message that is out of its bounds. It wraps ErrMalformed
// and reads: hello: heartbeat: 25h0m0s, want at most 24h0m0s
type FieldError struct {
	Message Type
	Field   string // its name in PROTOCOL.md
	Problem string // the value and the rule; never a secret
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%v: %s: %s", e.Message, e.Field, e.Problem)
}

func (e *FieldError) Unwrap() error { return ErrMalformed }

// newMessage returns the zero message of type t, or nil if t is not a control message.
func newMessage(t Type) Message {
	switch t {
	case TypeHello:
		return new(Hello)
	case TypeWelcome:
		return new(Welcome)
	case TypeRefusal:
		return new(Refusal)
	case TypeGoodbye:
		return new(Goodbye)
	case TypeHeartbeat:
		return new(Heartbeat)
	case TypeSnapshotBegin:
		return new(SnapshotBegin)
	case TypeSnapshotEnd:
		return new(SnapshotEnd)
	case TypeSession:
		return new(SessionChange)
	case TypeSubscribe:
		return new(Subscribe)
	case TypeSubscribed:
		return new(Subscribed)
	case TypePulse:
		return new(Pulse)
	case TypeEnd:
		return new(End)
	case TypeFile:
		return new(FileHeader)
	case TypeIndex:
		return new(Index)
	case TypeTrailer:
		return new(Trailer)
	}
	return nil
}

// Type is TypeHello.
func (*Hello) Type() Type { return TypeHello }

func (m *Hello) layout(w wire) {
	w.uint("min version", &m.MinVersion)
	w.uint("max version", &m.MaxVersion)
	if m.MinVersion == 0 || m.MaxVersion < m.MinVersion {
		w.invalid("min version", "versions %d to %d, want 1 or more", m.MinVersion, m.MaxVersion)
	}
	if w.reading() && (m.MinVersion > Version || m.MaxVersion < Version) {
		return // other versions may define the other elements differently
	}
	note(w, "client", &m.Client)
	token(w, "token", &m.Token)
	filter(w, "filter", &m.Filter)
	enum(w, "start", &m.Start.Kind, StartTime)
	w.uint("start value", &m.Start.Value)
	switch v := m.Start.Value; {
	case m.Start.Kind == StartSeq && (v == 0 || v > MaxSeq):
		w.invalid("start value", "sequence number %d, want 1 to %d", v, MaxSeq)
	case m.Start.Kind == StartTime && v > math.MaxInt64:
		w.invalid("start value", "time %d, want at most %d", v, math.MaxInt64)
	}
	enum(w, "slow", &m.Slow, SlowDisconnect)
	duration(w, "max lag", &m.MaxLag, 0)
	duration(w, "heartbeat", &m.Heartbeat, 0)
	w.bool("has state", &m.HasState)
	lineage(w, "lineage", &m.Position.Lineage, maybeEmpty)
	seq(w, "next", &m.Position.Next, min(1, len(m.Position.Lineage)))
	if len(m.Position.Lineage) == 0 && m.Position.Next != 0 {
		w.invalid("next", "%d without a lineage, want 0", m.Position.Next)
	}
	if w.more(m.Until != 0 || len(m.Features) > 0) {
		seq(w, "until", &m.Until, 0)
	}
	if w.more(len(m.Features) > 0) {
		features(w, "features", &m.Features)
	}
}

// Type is TypeWelcome.
func (*Welcome) Type() Type { return TypeWelcome }

func (m *Welcome) layout(w wire) {
	w.uint("version", &m.Version)
	note(w, "server", &m.Server)
	enum(w, "mode", &m.Mode, ModeReplay)
	lineage(w, "lineage", &m.Lineage, notEmpty)
	session(w, "origin", &m.Origin)
	seq(w, "head", &m.Head, 1)
	seq(w, "tail", &m.Tail, 1)
	duration(w, "heartbeat", &m.Heartbeat, MinHeartbeat)
	seed(w, "seed", &m.Seed)
	seq(w, "start", &m.Start, 1)
	enum(w, "reason", &m.Reason, StartedBySnapshot)
	w.int("now", &m.Now)
	if w.more(len(m.Features) > 0 || m.Granted != nil || m.Limits != "") {
		features(w, "features", &m.Features)
	}
	granted(w, &m.Granted, &m.Limits)
	if m.Tail > m.Head {
		w.invalid("tail", "%d, want at most head %d", m.Tail, m.Head)
	}
}

// Type is TypeRefusal.
func (*Refusal) Type() Type { return TypeRefusal }

func (m *Refusal) layout(w wire) { (*Farewell)(m).layout(w) }

// Type is TypeGoodbye.
func (*Goodbye) Type() Type { return TypeGoodbye }

func (m *Goodbye) layout(w wire) { (*Farewell)(m).layout(w) }

func (m *Farewell) layout(w wire) {
	enum(w, "code", &m.Code, math.MaxUint8)
	if m.Code == 0 {
		w.invalid("code", "0, want 1 to %d", math.MaxUint8)
	}
	note(w, "text", &m.Text)
	w.bool("retry", &m.Retry)
	duration(w, "retry after", &m.RetryAfter, 0)
}

// Type is TypeHeartbeat.
func (*Heartbeat) Type() Type { return TypeHeartbeat }

func (m *Heartbeat) layout(w wire) {
	seq(w, "covered", &m.Covered, 1)
	seq(w, "head", &m.Head, 1)
	w.int("now", &m.Now)
}

// Type is TypeSnapshotBegin.
func (*SnapshotBegin) Type() Type { return TypeSnapshotBegin }

func (m *SnapshotBegin) layout(w wire) {
	seq(w, "seq", &m.Seq, 1)
	enum(w, "scope", &m.Scope, ScopeAdded)
	filter(w, "filter", &m.Filter)
}

// Type is TypeSnapshotEnd.
func (*SnapshotEnd) Type() Type { return TypeSnapshotEnd }

func (m *SnapshotEnd) layout(w wire) {
	seq(w, "seq", &m.Seq, 1)
	w.uint("parts", &m.Parts)
}

// Type is TypeSession.
func (*SessionChange) Type() Type { return TypeSession }

func (m *SessionChange) layout(w wire) {
	enum(w, "mode", &m.Mode, ModeReplay)
	lineage(w, "lineage", &m.Lineage, notEmpty)
	session(w, "origin", &m.Origin)
	seed(w, "seed", &m.Seed)
	seq(w, "next", &m.Next, 1)
}

// Type is TypeSubscribe.
func (*Subscribe) Type() Type { return TypeSubscribe }

func (m *Subscribe) layout(w wire) {
	w.uint("request", &m.Request)
	filter(w, "filter", &m.Filter)
}

// Type is TypeSubscribed.
func (*Subscribed) Type() Type { return TypeSubscribed }

func (m *Subscribed) layout(w wire) {
	w.uint("request", &m.Request)
	seq(w, "from", &m.From, 1)
	seed(w, "seed", &m.Seed)
	granted(w, &m.Granted, &m.Limits)
}

// Type is TypePulse.
func (*Pulse) Type() Type { return TypePulse }

func (m *Pulse) layout(w wire) {
	seq(w, "next", &m.Next, 0)
	w.int("echo", &m.Echo)
}

// Type is TypeEnd.
func (*End) Type() Type { return TypeEnd }

func (m *End) layout(w wire) { seq(w, "final", &m.Final, 1) }

// Type is TypeFile.
func (*FileHeader) Type() Type { return TypeFile }

func (m *FileHeader) layout(w wire) {
	magic := FileMagic
	w.text("magic", &magic, len(FileMagic))
	if magic != FileMagic {
		w.invalid("magic", "%q, want %q", magic, FileMagic)
	}
	w.uint("version", &m.Version)
	if w.reading() && m.Version != Version {
		return // other versions may define the other elements differently
	}
	enum(w, "mode", &m.Mode, ModeReplay)
	lineage(w, "lineage", &m.Lineage, notEmpty)
	session(w, "origin", &m.Origin)
	seed(w, "seed", &m.Seed)
	note(w, "source", &m.Source)
	filter(w, "filter", &m.Filter)
	seq(w, "next", &m.Next, 1)
	w.int("created", &m.Created)
}

// Type is TypeIndex.
func (*Index) Type() Type { return TypeIndex }

func (m *Index) layout(w wire) {
	list(w, "marks", &m.Marks, MaxMarks, func(k *Mark) {
		tuple(w, "mark", 3)
		seq(w, "mark seq", &k.Seq, 1)
		w.int("mark time", &k.Time)
		offset(w, "mark offset", &k.Offset)
		w.close()
	})
}

// Type is TypeTrailer.
func (*Trailer) Type() Type { return TypeTrailer }

func (m *Trailer) layout(w wire) {
	w.wideUint("index offset", &m.IndexOffset)
	w.wideUint("next", &m.Next)
	w.wideInt("last time", &m.LastTime)
	if m.IndexOffset > math.MaxInt64 {
		w.invalid("index offset", "%d is beyond any file", m.IndexOffset)
	}
	if m.Next == 0 || m.Next > MaxSeq {
		w.invalid("next", "%d, want 1 to %d", m.Next, MaxSeq)
	}
}

// The functions below handle fields that several messages have. When writing, they do not store through their pointers, so
// that several goroutines may encode one message.

func set[T comparable](v *T, to T) {
	if *v != to {
		*v = to
	}
}

func seq(w wire, field string, v *uint64, least int) {
	w.uint(field, v)
	if *v < uint64(least) || *v > MaxSeq {
		w.invalid(field, "%d, want %d to %d", *v, least, MaxSeq)
	}
}

func offset(w wire, field string, v *uint64) {
	w.uint(field, v)
	if *v > math.MaxInt64 {
		w.invalid(field, "%d is beyond any file", *v)
	}
}

func session(w wire, field string, v *feed.SessionID) {
	n := uint64(*v)
	w.uint(field, &n)
	set(v, feed.SessionID(n))
}

func seed(w wire, field string, v *uint32) {
	n := uint64(*v)
	w.uint(field, &n)
	if n > math.MaxUint32 {
		w.invalid(field, "%d is beyond 32 bits", n)
	}
	set(v, uint32(n))
}

func enum[T ~uint8](w wire, field string, v *T, greatest T) {
	n := uint64(*v)
	w.uint(field, &n)
	if n > uint64(greatest) {
		w.invalid(field, "%d, want at most %d", n, uint8(greatest))
	}
	set(v, T(n))
}

// duration handles a duration in nanoseconds, in [least, MaxDuration].
func duration(w wire, field string, v *time.Duration, least time.Duration) {
	n := int64(*v)
	w.int(field, &n)
	if d := time.Duration(n); d < least || d > MaxDuration {
		w.invalid(field, "%v, want %v to %v", d, least, MaxDuration)
	}
	set(v, time.Duration(n))
}

// note handles a text for people. Characters that a terminal would not print are replaced, when reading and when writing; a
// text that is too long is cut when writing.
func note(w wire, field string, v *string) {
	s := *v
	if !w.reading() {
		s = printable(s)
		for len(s) > MaxText {
			_, size := utf8.DecodeLastRuneInString(s)
			s = s[:len(s)-size]
		}
	}
	w.text(field, &s, MaxText)
	if w.reading() {
		*v = printable(s)
	}
}

// printable returns s with a question mark in place of each byte that is not UTF-8 and each rune that is not graphic. The
// result is never longer than s.
func printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || !unicode.IsGraphic(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func token(w wire, field string, v *Token) {
	s := string(*v)
	w.text(field, &s, MaxToken)
	if printable(s) != s {
		w.invalid(field, "has characters that cannot be printed")
	}
	set(v, Token(s))
}

func filter(w wire, field string, v *Filter) {
	list(w, field, v, MaxPatterns, func(p *string) { w.text(field, p, MaxPattern) })
	if w.reading() { // make it canonical, as NewFilter does, but in place
		slices.Sort(*v)
		*v = slices.Compact(*v)
	}
	if err := v.Validate(); err != nil {
		w.invalid(field, "%s", strings.TrimPrefix(err.Error(), "filter: "))
	}
	if w.reading() && (len(*v) == 0 || slices.Contains(*v, "*")) {
		*v = nil
	}
}

// granted handles the last elements of a welcome or subscribed message: the filter granted, which is present if it is not the one
// that the client asked for or if there are limits, and the limits of the line.
func granted(w wire, v **Filter, limits *string) {
	if !w.more(*v != nil || *limits != "") {
		return
	}
	switch {
	case *v != nil:
	case w.reading():
		*v = new(Filter)
	default:
		w.invalid("limits", "%q without the filter granted", *limits)
		return
	}
	filter(w, "filter granted", *v)
	if w.more(*limits != "") {
		note(w, "limits", limits)
	}
}

func features(w wire, field string, v *[]string) {
	list(w, field, v, MaxFeatures, func(s *string) {
		w.text(field, s, MaxFeature)
		if *s == "" || strings.Trim(*s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			w.invalid(field, "%.40q, want lower-case letters, digits and hyphens", *s)
		}
	})
}

const (
	notEmpty   = false
	maybeEmpty = true
)

func lineage(w wire, field string, v *feed.Lineage, empty bool) {
	list(w, field, v, feed.MaxLineage, func(s *feed.Session) {
		tuple(w, field, 2)
		session(w, field, &s.ID)
		seq(w, field, &s.First, 1)
		w.close()
	})
	if empty && len(*v) == 0 {
		return
	}
	if err := v.Validate(); err != nil {
		w.invalid(field, "%s", strings.TrimPrefix(err.Error(), "lineage: "))
	}
}

func list[S ~[]T, T any](w wire, field string, v *S, most int, each func(*T)) {
	n := w.open(field, len(*v), most)
	if n != len(*v) {
		*v = make(S, n)
	}
	for i := range *v {
		each(&(*v)[i])
	}
	w.close()
}

func tuple(w wire, field string, n int) {
	if got := w.open(field, n, n); got != n {
		w.invalid(field, "an array of %d elements, want %d", got, n)
	}
}
