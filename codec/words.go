package codec

import (
	"fmt"
	"slices"
	"strings"
)

// The enumerations of the protocol are printed and parsed as words: in logs, errors, JSON, flags and configuration files.
var (
	modeWords        = words{"mode", []string{"live", "simulation", "replay"}}
	startKindWords   = words{"start", []string{"snapshot", "live", "beginning", "seq", "time"}}
	slowPolicyWords  = words{"slow-consumer policy", []string{"all", "latest", "disconnect"}}
	startReasonWords = words{"start reason", []string{"as asked", "resumed", "rewound", "snapshot"}}
	scopeKindWords   = words{"scope", []string{"all", "definitions", "added"}}
)

// words are the words for the values of one enumeration, from 0.
type words struct {
	what string // the enumeration, for errors
	list []string
}

// word returns the word for v. A value without a word is returned as a number.
func (w *words) word(v uint8) string {
	if int(v) < len(w.list) {
		return w.list[v]
	}
	return fmt.Sprintf("%s(%d)", w.what, v)
}

func (w *words) parse(text []byte) (uint8, error) {
	i := slices.Index(w.list, string(text))
	if i < 0 {
		last := len(w.list) - 1
		return 0, fmt.Errorf("%s must be %s or %s, got %.64q", w.what, strings.Join(w.list[:last], ", "), w.list[last], text)
	}
	return uint8(i), nil
}

// String returns live, simulation or replay.
func (m Mode) String() string { return modeWords.word(uint8(m)) }

// MarshalText writes the word that String returns.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the word that String returns.
func (m *Mode) UnmarshalText(text []byte) error { return parseInto(m, &modeWords, text) }

// String returns snapshot, live, beginning, seq or time.
func (k StartKind) String() string { return startKindWords.word(uint8(k)) }

// MarshalText writes the word that String returns.
func (k StartKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the word that String returns.
func (k *StartKind) UnmarshalText(text []byte) error { return parseInto(k, &startKindWords, text) }

// String returns all, latest or disconnect.
func (s SlowPolicy) String() string { return slowPolicyWords.word(uint8(s)) }

// MarshalText writes the word that String returns.
func (s SlowPolicy) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word that String returns.
func (s *SlowPolicy) UnmarshalText(text []byte) error { return parseInto(s, &slowPolicyWords, text) }

// String returns "as asked", resumed, rewound or snapshot.
func (r StartReason) String() string { return startReasonWords.word(uint8(r)) }

// MarshalText writes the word that String returns.
func (r StartReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the word that String returns.
func (r *StartReason) UnmarshalText(text []byte) error { return parseInto(r, &startReasonWords, text) }

// String returns all, definitions or added.
func (k ScopeKind) String() string { return scopeKindWords.word(uint8(k)) }

// MarshalText writes the word that String returns.
func (k ScopeKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the word that String returns.
func (k *ScopeKind) UnmarshalText(text []byte) error { return parseInto(k, &scopeKindWords, text) }

func parseInto[T ~uint8](v *T, w *words, text []byte) error {
	n, err := w.parse(text)
	if err == nil {
		*v = T(n)
	}
	return err
}
