package codec

import (
	"strconv"
	"strings"

	"tickfeed/feed/words"
)

// The enumerations of the protocol are printed and parsed as words: in logs, errors, JSON, flags and configuration files.
var (
	modeWords        = words.List{What: "mode", Words: []string{"live", "simulation", "replay"}}
	startKindWords   = words.List{What: "start", Words: []string{"snapshot", "live", "beginning", "seq", "time"}}
	slowPolicyWords  = words.List{What: "slow-consumer policy", Words: []string{"all", "latest", "disconnect"}}
	startReasonWords = words.List{What: "start reason", Words: []string{"as asked", "resumed", "rewound", "snapshot"}}
	scopeKindWords   = words.List{What: "scope", Words: []string{"all", "definitions", "added"}}
	codeWords        = words.List{What: "code", Words: []string{
		"", "shutdown", "busy", "version", "unauthorized", "protocol", "bad request", "slow", "silent", "internal", "done", "denied",
	}}
)

// String returns live, simulation or replay.
func (m Mode) String() string { return modeWords.Word(int(m)) }

// MarshalText writes the word that String returns.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the word that String returns.
func (m *Mode) UnmarshalText(text []byte) error { return words.Parse(m, &modeWords, text) }

// String returns snapshot, live, beginning, seq or time.
func (k StartKind) String() string { return startKindWords.Word(int(k)) }

// MarshalText writes the word that String returns.
func (k StartKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the word that String returns.
func (k *StartKind) UnmarshalText(text []byte) error { return words.Parse(k, &startKindWords, text) }

// String returns all, latest or disconnect.
func (s SlowPolicy) String() string { return slowPolicyWords.Word(int(s)) }

// MarshalText writes the word that String returns.
func (s SlowPolicy) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word that String returns.
func (s *SlowPolicy) UnmarshalText(text []byte) error { return words.Parse(s, &slowPolicyWords, text) }

// String returns "as asked", resumed, rewound or snapshot.
func (r StartReason) String() string { return startReasonWords.Word(int(r)) }

// MarshalText writes the word that String returns.
func (r StartReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the word that String returns.
func (r *StartReason) UnmarshalText(text []byte) error {
	return words.Parse(r, &startReasonWords, text)
}

// String returns all, definitions or added.
func (k ScopeKind) String() string { return scopeKindWords.Word(int(k)) }

// MarshalText writes the word that String returns.
func (k ScopeKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the word that String returns.
func (k *ScopeKind) UnmarshalText(text []byte) error { return words.Parse(k, &scopeKindWords, text) }

// unknownCode begins the text of a code that this version does not know.
const unknownCode = "code "

// String returns the name of c in PROTOCOL.md, such as "bad request", or as in "code 200" if this version does not know it.
func (c Code) String() string {
	if c == 0 || int(c) >= len(codeWords.Words) {
		return unknownCode + strconv.Itoa(int(c))
	}
	return codeWords.Word(int(c))
}

// MarshalText writes what String returns.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what String returns.
func (c *Code) UnmarshalText(text []byte) error {
	if number, ok := strings.CutPrefix(string(text), unknownCode); ok {
		if n, err := strconv.ParseUint(number, 10, 8); err == nil && n > 0 {
			*c = Code(n)
			return nil
		}
	}
	return words.Parse(c, &codeWords, text)
}
