package feed

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
)

// A SessionID names one writer's unbroken numbering. Ids are random; 0 is no session.
type SessionID uint64

// NewSessionID returns a random id for a new session.
func NewSessionID() SessionID {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if id := SessionID(binary.BigEndian.Uint64(b[:])); id != 0 {
			return id
		}
	}
}

func (id SessionID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// MarshalText writes the id as String does.
func (id SessionID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *SessionID) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("session id %.32q: want up to 16 hexadecimal digits", b)
	}
	*id = SessionID(v)
	return nil
}

// A Session is one writer's numbering. First is the first number that the writer gave itself.
type Session struct {
	ID    SessionID `json:"session"`
	First uint64    `json:"first"`
}

// A Lineage lists the sessions that a numbering came through, oldest first; the last one is current. Each session owns the
// numbers from its First up to the First of the next session. An older session may have given further numbers, which no session
// owns. A Lineage is a value: it is replaced, never changed in place.
type Lineage []Session

// MaxLineage is the most sessions of a lineage that is sent or recorded. A longer lineage is reduced to its newest sessions: see
// [Lineage.Newest]. A publisher keeps the whole lineage of its journal.
const MaxLineage = 65

// Validate returns an error if l is empty or longer than MaxLineage, if a session has no id or is listed twice, or if the first
// numbers decrease or begin below 1.
func (l Lineage) Validate() error {
	if len(l) == 0 {
		return fmt.Errorf("lineage is empty")
	}
	if len(l) > MaxLineage {
		return fmt.Errorf("lineage has %d sessions, at most %d", len(l), MaxLineage)
	}
	first := uint64(1)
	for i, s := range l {
		if s.ID == 0 {
			return fmt.Errorf("lineage: session %d has no id", i)
		}
		if s.First < first {
			return fmt.Errorf("lineage: session %v begins at %d, want at least %d", s.ID, s.First, first)
		}
		for _, t := range l[:i] {
			if t.ID == s.ID {
				return fmt.Errorf("lineage: session %v is listed twice", s.ID)
			}
		}
		first = s.First
	}
	return nil
}

// Current returns the session that gives new numbers, or the zero Session if l is empty.
func (l Lineage) Current() Session {
	if len(l) == 0 {
		return Session{}
	}
	return l[len(l)-1]
}

// Child returns l continued by session id from first. It never shares memory with l.
func (l Lineage) Child(id SessionID, first uint64) Lineage {
	child := make(Lineage, 0, len(l)+1)
	return append(append(child, l...), Session{ID: id, First: first})
}

// Newest returns the newest MaxLineage sessions of l, or all if there are fewer.
func (l Lineage) Newest() Lineage { return l[max(0, len(l)-MaxLineage):] }

// Owner returns the session that owns seq, and the range that it owns. The range of the current session has no end (To is the
// greatest number). Owner returns false if seq is before the first number of the oldest session of l.
func (l Lineage) Owner(seq uint64) (s Session, owned Range, ok bool) {
	to := ^uint64(0)
	for i := len(l) - 1; i >= 0; i-- {
		if seq >= l[i].First {
			return l[i], Range{l[i].First, to}, true
		}
		to = l[i].First
	}
	return Session{}, Range{}, false
}

// Until returns l as it was when session id was the current one; ok is false if id is not in l.
func (l Lineage) Until(id SessionID) (Lineage, bool) {
	for i, s := range l {
		if s.ID == id {
			return l[: i+1 : i+1], true
		}
	}
	return nil, false
}

// Fork returns where a reader of lineage held, which holds every number before next, can continue in l: at next
// or at the end of the last session common to both, whichever is lower. ok is false if no session is common to
// both.
func (l Lineage) Fork(held Lineage, next uint64) (seq uint64, ok bool) {
	for i := len(held) - 1; i >= 0; i-- {
		for j := len(l) - 1; j >= 0; j-- {
			if held[i].ID != l[j].ID {
				continue
			}
			seq = next
			if i+1 < len(held) {
				seq = min(seq, held[i+1].First)
			}
			if j+1 < len(l) {
				seq = min(seq, l[j+1].First)
			}
			return seq, true
		}
	}
	return 0, false
}

// Numbers are sequence numbers of one session.
type Numbers struct {
	Session SessionID `json:"session"`
	Range   Range     `json:"range"`
}

func (n Numbers) String() string { return fmt.Sprintf("%v of session %v", n.Range, n.Session) }

// Split splits r by the session that owns each part. It leaves out numbers before the first session of l.
func (l Lineage) Split(r Range) []Numbers {
	var out []Numbers
	for len(l) > 0 && !r.Empty() {
		s, owned, ok := l.Owner(r.From)
		if !ok {
			r.From = l[0].First
			continue
		}
		part := r.Intersect(owned)
		out = append(out, Numbers{s.ID, part})
		r.From = part.To
	}
	return out
}
