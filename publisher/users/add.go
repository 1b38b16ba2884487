package users

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"tickfeed/codec"
	"tickfeed/codec/smallfile"
	"tickfeed/feed/yamlfile"
)

// An Entry is a user to be added to a file, as it is written there. Empty fields are left out.
type Entry struct {
	Name        string   `yaml:"name"`
	TokenSHA256 string   `yaml:"token_sha256,omitempty"`
	SAN         string   `yaml:"san,omitempty"`
	Allow       []string `yaml:"allow,omitempty,flow"`
	Deny        []string `yaml:"deny,omitempty,flow"`
	Depth       string   `yaml:"depth,omitempty"`
	History     string   `yaml:"history,omitempty"`
	Policies    []string `yaml:"policies,omitempty,flow"`
	Connections int      `yaml:"connections,omitempty"`
	Expires     string   `yaml:"expires,omitempty"`
}

// tokenSize is the number of random bytes in a token.
const tokenSize = 32

// ErrExpired is the error of Add for a user who has expired already.
var ErrExpired = errors.New("nothing is written: the user would have expired already")

// Add appends a user to the file at path, which it creates, for its owner alone, if it does not exist. The rest of the file stays
// as it is. Unless e.SAN is set, Add makes a token, whose SHA-256 is all that is written, and returns it. If the file would not be
// right, Add returns an error, and does not change it.
func Add(path string, e Entry) (token codec.Token, err error) {
	before, err := read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if e.SAN == "" {
		random := make([]byte, tokenSize)
		_, _ = rand.Read(random) // never fails
		token = codec.Token(base64.RawURLEncoding.EncodeToString(random))
		e.TokenSHA256 = fmt.Sprintf("%x", sha256.Sum256([]byte(token)))
	}
	entry, err := yaml.Marshal([]Entry{e})
	if err != nil {
		return "", err
	}
	if len(before) > 0 && !bytes.HasSuffix(before, []byte("\n")) {
		entry = append([]byte("\n"), entry...)
	}
	if err := mistakes(entry); err != nil {
		return "", err
	}
	old := 0
	if len(bytes.TrimSpace(before)) > 0 {
		list, err := Parse(path, before)
		if err != nil {
			return "", err
		}
		if err := clash(path, list, e); err != nil {
			return "", err
		}
		old = len(list)
	}
	after := append(bytes.Clone(before), entry...)
	_, broken := yamlfile.Parse(after, example)
	switch list, err := Parse(path, after); {
	case broken == nil && err != nil:
		return "", fmt.Errorf("nothing is written: %w", err)
	case len(list) != old+1:
		return "", fmt.Errorf("%s: a user cannot be appended to this file, whose list is not written in lines that begin with \"- name\": rewrite it so", path)
	case list[old].expired(time.Now()):
		return "", ErrExpired
	case len(after) > smallfile.Max:
		return "", fmt.Errorf("%s would be longer than %d bytes, and no publisher would read it: remove the entries of users who have expired or left; nothing is written", path, smallfile.Max)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(entry)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("%s: %w; look at the end of the file", path, err)
	}
	return token, nil
}

// mistakes returns an error for what is wrong with the text of one entry, whatever the file holds.
func mistakes(entry []byte) error {
	_, err := Parse("", entry)
	if err == nil {
		return nil
	}
	var texts []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		_, text, _ := strings.Cut(line, ": ") // the place is in no file
		texts = append(texts, text)
	}
	return &Error{Text: "nothing is written: " + strings.Join(texts, "; ")}
}

// clash returns an error if e has the name or the san of one of the users in the file at path.
func clash(path string, list []*User, e Entry) error {
	for _, u := range list {
		switch {
		case u.Permission.User == e.Name:
			return &Error{path, u.line, fmt.Sprintf("there is a user %s already: choose another name, or remove that entry first; nothing is written", e.Name)}
		case e.SAN != "" && u.SAN == e.SAN:
			return &Error{path, u.line, fmt.Sprintf("the san %s is that of user %s: a certificate belongs to one user; nothing is written", e.SAN, u.Permission.User)}
		}
	}
	return nil
}
