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
	"time"

	"go.yaml.in/yaml/v3"

	"tickfeed/codec"
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
	old := 0
	if len(bytes.TrimSpace(before)) > 0 {
		list, err := Parse(path, before)
		if err != nil {
			return "", err
		}
		old = len(list)
	}
	after := append(bytes.Clone(before), entry...)
	_, broken := yamlfile.Parse(after)
	switch list, err := Parse(path, after); {
	case broken == nil && err != nil:
		return "", fmt.Errorf("nothing is written: %w", err)
	case len(list) != old+1:
		return "", fmt.Errorf("%s: a user cannot be appended to this file, whose list is not written in lines that begin with \"- name\": rewrite it so", path)
	case list[old].expired(time.Now()):
		return "", ErrExpired
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
