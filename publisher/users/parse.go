package users

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/script"
	"tickfeed/feed/yamlfile"
	"tickfeed/publisher"
)

// A User is an entry of a file. Either Token or SAN is set.
type User struct {
	Token      [sha256.Size]byte // SHA-256 of the token
	SAN        string            // the one name in the certificate of the client
	Expires    time.Time         // zero for never
	Permission *publisher.Permission

	line int // of the file, at which the entry begins
}

// expired reports whether u has expired at the time now.
func (u *User) expired(now time.Time) bool { return !u.Expires.IsZero() && !now.Before(u.Expires) }

// key is the same for users with the same permission.
func (u *User) key() string {
	p := u.Permission
	return fmt.Sprintf("%q %q %q %d %d %v %d", p.User, p.Allow, p.Deny, p.Depth, p.History, p.Policies, p.Connections)
}

// An Error is a mistake in a file, or in an Entry.
type Error struct {
	File string
	Line int // 0 for a mistake in an Entry
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Bounds of a file.
const (
	maxPatterns = 256 // of one user, to allow and to deny each
	maxErrors   = 20  // mistakes reported at once
)

// A parser reads a file.
type parser struct {
	file string
	errs []error
}

// Parse reads the text of a file; file is its name, for errors. The error joins an *Error for each mistake.
func Parse(file string, text []byte) ([]*User, error) {
	p := &parser{file: file}
	root, err := yamlfile.Parse(text, example)
	if wrong := new(yamlfile.Error); errors.As(err, &wrong) {
		return nil, &Error{file, wrong.Line, wrong.Text}
	}
	if root == nil {
		return nil, &Error{file, 1, "the file has no user; tickfeed user add NAME --users FILE adds one"}
	}
	if root.Kind != yaml.SequenceNode {
		return nil, &Error{file, root.Line, "want a list of users, each of which begins with \"- name: NAME\""}
	}
	var users []*User
	seen := make(map[string]int) // the line of each name and credential
	for _, node := range root.Content {
		if u := p.user(node, seen); u != nil {
			users = append(users, u)
		}
	}
	if len(users) == 0 && len(p.errs) == 0 {
		p.wrong(root, "the list has no user; tickfeed user add NAME --users FILE adds one")
	}
	if n := len(p.errs); n > maxErrors {
		p.errs = append(p.errs[:maxErrors], fmt.Errorf("%s: and %d more mistakes", file, n-maxErrors))
	}
	return users, errors.Join(p.errs...)
}

func (p *parser) wrong(at *yaml.Node, format string, args ...any) {
	p.errs = append(p.errs, &Error{p.file, at.Line, fmt.Sprintf(format, args...)})
}

// fields are the keys of a user.
const fields = "name, token_sha256, san, allow, deny, depth, history, policies, connections, expires"

// example is a field of a user, for errors in the syntax.
const example = "allow: [ES*]"

// user reads one entry. It returns nil if the entry has no name or no credentials.
func (p *parser) user(node *yaml.Node, seen map[string]int) *User {
	if node.Kind != yaml.MappingNode {
		p.wrong(node, "want a user, which begins with \"- name: NAME\"")
		return nil
	}
	u := &User{Permission: new(publisher.Permission), line: node.Line}
	known := make(map[string]bool)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if known[key.Value] {
			p.wrong(key, "%s is given twice: remove one", key.Value)
			continue
		}
		known[key.Value] = true
		if set := setters[key.Value]; set == nil {
			near := script.DidYouMean(key.Value, strings.Split(fields, ", "))
			p.wrong(key, "unknown field %q%s", key.Value, cmp.Or(near, ": want one of "+fields))
		} else if err := set(u, value); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				for _, name := range []string{key.Value + " ", "filter: "} {
					line = strings.TrimPrefix(line, name) // the field is named already
				}
				p.wrong(value, "%s: %s", key.Value, line)
			}
		}
	}
	once := func(what, value string) {
		if line := seen[what+value]; line != 0 {
			p.wrong(node, "%s is that of the user in line %d: each user has one of their own", what, line)
		}
		seen[what+value] = node.Line
	}
	switch {
	case !known["name"]:
		p.wrong(node, "the user has no name: add name: NAME")
	case u.Permission.User != "":
		once("the name", u.Permission.User)
	}
	switch {
	case known["san"] == known["token_sha256"]:
		p.wrong(node, "a user has either token_sha256, which tickfeed user add makes, or san, the name in a certificate")
	case u.SAN != "":
		once("the san", u.SAN)
	case u.Token != [sha256.Size]byte{}:
		once("the token", string(u.Token[:]))
	}
	return u
}

// setters set the fields of a user.
var setters = map[string]func(u *User, v *yaml.Node) error{
	"name": func(u *User, v *yaml.Node) (err error) {
		u.Permission.User, err = name(v)
		return err
	},
	"token_sha256": func(u *User, v *yaml.Node) error {
		b, err := hex.DecodeString(v.Value)
		if err != nil || len(b) != sha256.Size {
			return errors.New("want the SHA-256 of the token, 64 hexadecimal digits; tickfeed user add makes a token and its SHA-256")
		}
		u.Token = [sha256.Size]byte(b)
		return nil
	},
	"san": func(u *User, v *yaml.Node) (err error) {
		if err = scalar(v); err == nil && (v.Value == "" || strings.TrimSpace(v.Value) != v.Value || strings.ContainsAny(v.Value, "*")) {
			err = errors.New("want the exact name in the certificate of the client, such as risk.example.com, without *")
		}
		u.SAN = v.Value
		return err
	},
	"allow": func(u *User, v *yaml.Node) (err error) {
		u.Permission.Allow, err = patterns(v)
		return err
	},
	"deny": func(u *User, v *yaml.Node) (err error) {
		u.Permission.Deny, err = patterns(v)
		return err
	},
	"depth": func(u *User, v *yaml.Node) error { return u.Permission.Depth.UnmarshalText([]byte(v.Value)) },
	"history": func(u *User, v *yaml.Node) error {
		d, err := time.ParseDuration(v.Value)
		switch {
		case v.Value == "none":
			d = publisher.NoHistory
		case err != nil || d <= 0:
			return fmt.Errorf("want a duration such as 24h or 30m, or none, got %q", v.Value)
		}
		u.Permission.History = d
		return nil
	},
	"policies": func(u *User, v *yaml.Node) error {
		words, err := list(v)
		if err != nil {
			return err
		}
		for _, w := range words {
			var policy codec.SlowPolicy
			if policy.UnmarshalText([]byte(w)) != nil {
				err = errors.Join(err, fmt.Errorf("want a list of all, latest and disconnect, got %q", w))
				continue
			}
			u.Permission.Policies = append(u.Permission.Policies, policy)
		}
		return err
	},
	"connections": func(u *User, v *yaml.Node) error {
		n, err := strconv.Atoi(v.Value)
		if err != nil || n < 1 {
			return fmt.Errorf("want a number from 1, got %q", v.Value)
		}
		u.Permission.Connections = n
		return nil
	},
	"expires": func(u *User, v *yaml.Node) (err error) {
		u.Expires, err = Expiry(v.Value)
		return err
	},
}

// Expiry returns the time that the field expires stands for. A date is the time at which that day begins, in UTC.
func Expiry(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("want a date such as 2027-01-31, at whose start, 00:00 UTC, the user expires, or a time such as 2027-01-31T18:00:00Z, got %q", text)
}

func scalar(v *yaml.Node) error {
	if v.Kind != yaml.ScalarNode {
		return errors.New("want one value")
	}
	return nil
}

func name(v *yaml.Node) (string, error) {
	if err := scalar(v); err != nil {
		return "", err
	}
	if v.Value == "" {
		return "", errors.New("want a name that is not empty")
	}
	return v.Value, feed.ValidateText(v.Value)
}

// list returns the elements of v, which must have some.
func list(v *yaml.Node) (words []string, err error) {
	if v.Kind != yaml.SequenceNode || len(v.Content) == 0 {
		return nil, errors.New("want a list, such as [A, B]; leave the field out for its default")
	}
	for _, e := range v.Content {
		if err := scalar(e); err != nil {
			return nil, err
		}
		if strings.TrimSpace(e.Value) != e.Value { // it would match nothing, and a user who is denied it would see everything
			return nil, fmt.Errorf("%q begins or ends with a blank: remove it", e.Value)
		}
		words = append(words, e.Value)
	}
	return words, nil
}

func patterns(v *yaml.Node) (codec.Filter, error) {
	words, err := list(v)
	if err != nil {
		return nil, err
	}
	if len(words) > maxPatterns {
		return nil, fmt.Errorf("%d patterns, at most %d: write plainer ones, with *", len(words), maxPatterns)
	}
	f := codec.Filter(words)
	return f, f.Validate()
}
