// Package users reads a file that says who may connect to a publisher, and what each user may see.
//
//	file, err := users.Open("users.yml", func(err error) { logger.Error().Err(err).Msg("users") })
//	pub, err := publisher.New(publisher.Config{Authorize: file.Authorize})
//
// The file is a list in YAML:
//
//	# users.yml
//	- name: futures-desk
//	  token_sha256: 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
//	  allow: [ES*, "*@XCME"]        # patterns (default: all)
//	  deny: [ESZ*]                  # except these patterns (default: none)
//	  depth: l1                     # l1, without the levels of the book, or l2 (default)
//	  history: 24h                  # how old ticks may be at the login, or none (default: all)
//	  policies: [all, latest]       # slow-consumer policies (default: each of them)
//	  connections: 5                # at the same time (default: any number)
//	  expires: 2027-01-31           # at 00:00 UTC, as that day begins; or 2027-01-31T18:00:00Z (default: never)
//	- name: risk
//	  san: risk.example.com         # instead of a token: the one name in the certificate of the client
//
// A file that has changed is in force within two seconds. If it cannot be used, the one before stays in force.
package users

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"tickfeed/codec/smallfile"
	"tickfeed/publisher"
)

// readInterval is how long the users that were read are used before the file is read again.
const readInterval = 500 * time.Millisecond

// A File is a file of users that may change while it is in use. Its methods are safe for concurrent use.
type File struct {
	path    string
	changed func(error)

	mu    sync.Mutex
	read  time.Time // when text was read
	text  []byte    // what was read last, used or not
	err   error     // of reading the file; nil if text was read
	wrong error     // why text is not used; nil if it is
	users *index
}

// An index is the users of a file by their credentials.
type index struct {
	tokens map[[sha256.Size]byte]*User
	names  map[string]*User // by the name in the certificate
}

// all returns the users, in no order.
func (x *index) all() []*User {
	return slices.AppendSeq(slices.Collect(maps.Values(x.tokens)), maps.Values(x.names))
}

// Open reads the file at path. changed is called when the file has changed and is in use, with nil, and when it is not, with the
// reason; it may be nil.
func Open(path string, changed func(error)) (*File, error) {
	f := &File{path: path, changed: changed, read: time.Now()}
	if f.text, f.err = read(path); f.err != nil {
		return nil, f.err
	}
	list, err := Parse(path, f.text)
	if err != nil {
		return nil, err
	}
	f.users = newIndex(list, nil)
	return f, nil
}

// NeedsCertificates returns the name of a user who is known by a certificate, or "" if there is none.
func (f *File) NeedsCertificates() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.users.names {
		return u.Permission.User
	}
	return ""
}

// Errors for clients, which learn no more than what they have shown.
var (
	errNothingShown     = errors.New("no token was sent, and no certificate with a single name was shown")
	errWrongToken       = errors.New("the token is wrong, or no longer valid")
	errWrongCertificate = errors.New("the name in the certificate is that of no user, or no longer")
)

// Authorize is for publisher.Config. A client is known by its token or, if it sends none, by its certificate. Tokens are looked up
// by their hash, so that the time that this takes says nothing of a token.
func (f *File) Authorize(login publisher.Login) (*publisher.Permission, error) {
	users := f.current()
	var u *User
	wrong := errNothingShown
	if login.Token != (publisher.Login{}).Token {
		u, wrong = users.tokens[login.Token], errWrongToken
	} else if login.Certificate != "" {
		u, wrong = users.names[login.Certificate], errWrongCertificate
	}
	switch {
	case u == nil:
		return nil, wrong
	case u.expired(time.Now()):
		return nil, fmt.Errorf("user %s expired at %s", u.Permission.User, u.Expires.UTC().Format(time.RFC3339))
	}
	return u.Permission, nil
}

// Reload reads the file now. It returns the number of users in force, and an error if those are not the users of the file: changed is not
// called with that error.
func (f *File) Reload() (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readLocked(func(err error) {
		if err == nil && f.changed != nil {
			f.changed(nil)
		}
	})
	return len(f.users.tokens) + len(f.users.names), f.wrong
}

// current returns the users, and reads the file again if that is due.
func (f *File) current() *index {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.read) >= readInterval && !changing(f.path) {
		f.readLocked(f.changed)
	}
	return f.users
}

// settleTime is how long a file must not have changed before it is read again by itself: half of it may be written.
const settleTime = 300 * time.Millisecond

// Check reads the file again if that is due, and returns why its present contents are not in force. Authorize reads the file too;
// a caller of Check also sees changes while nobody connects.
func (f *File) Check() error {
	f.current()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wrong
}

// Expired returns the users in force who have expired at the time now, by name. They are refused.
func (f *File) Expired(now time.Time) (expired []*User) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.users.all() {
		if u.expired(now) {
			expired = append(expired, u)
		}
	}
	slices.SortFunc(expired, func(a, b *User) int { return strings.Compare(a.Permission.User, b.Permission.User) })
	return expired
}

// readLocked reads the file, and calls changed, which may be nil, if it has changed.
func (f *File) readLocked(changed func(error)) {
	text, err := read(f.path)
	f.read = time.Now()
	if same := err == nil && f.err == nil && bytes.Equal(text, f.text) || err != nil && f.err != nil && err.Error() == f.err.Error(); same {
		return
	}
	f.text, f.err = text, err
	var list []*User
	if err == nil {
		list, err = Parse(f.path, text)
	}
	if f.wrong = err; err != nil {
		err = fmt.Errorf("%w; the users before stay in force", err)
	} else {
		f.users = newIndex(list, f.users)
	}
	if changed != nil {
		changed(err)
	}
}

// newIndex indexes list. Permissions that are as in the index before stay the same pointers.
func newIndex(list []*User, before *index) *index {
	x := &index{tokens: make(map[[sha256.Size]byte]*User), names: make(map[string]*User)}
	old := make(map[string]*publisher.Permission)
	if before != nil {
		for _, u := range before.all() {
			old[u.key()] = u.Permission
		}
	}
	for _, u := range list {
		if p := old[u.key()]; p != nil {
			u.Permission = p
		}
		if u.SAN != "" {
			x.names[u.SAN] = u
		} else {
			x.tokens[u.Token] = u
		}
	}
	return x
}

// changing reports whether the file has just been written.
func changing(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime())
	return age >= 0 && age < settleTime
}

func read(path string) ([]byte, error) { return smallfile.Read(path, "while it is in use") }
