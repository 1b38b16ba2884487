package users_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/smallfile"
	"tickfeed/publisher"
	"tickfeed/publisher/users"
)

func hash(token string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(token))) }

// Every field of a user is read, and a user without fields may see everything.
func TestParseReadsEveryField(t *testing.T) {
	list, err := users.Parse("u.yml", []byte(`# people
- name: futures-desk
  token_sha256: `+hash("secret")+`
  allow: [ES*, "*@XCME"]
  deny: [ESZ*]
  depth: l1
  history: 24h
  policies: [latest, disconnect]
  connections: 5
  expires: 2027-01-31
- {name: risk, san: risk.example.com, history: none, expires: 2027-01-31T18:00:00+01:00}
`))
	require.NoError(t, err)
	require.Len(t, list, 2)
	desk, risk := list[0], list[1]
	assert.Equal(t, sha256.Sum256([]byte("secret")), desk.Token)
	assert.Equal(t, time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), desk.Expires)
	p := desk.Permission
	assert.Equal(t, "futures-desk", p.User)
	assert.Equal(t, codec.Filter{"ES*", "*@XCME"}, p.Allow)
	assert.Equal(t, codec.Filter{"ESZ*"}, p.Deny)
	assert.Equal(t, publisher.DepthL1, p.Depth)
	assert.Equal(t, 24*time.Hour, p.History)
	assert.Equal(t, []codec.SlowPolicy{codec.SlowLatest, codec.SlowDisconnect}, p.Policies)
	assert.Equal(t, 5, p.Connections)
	assert.Equal(t, "risk.example.com", risk.SAN)
	assert.Equal(t, publisher.NoHistory, risk.Permission.History)
	assert.True(t, risk.Expires.Equal(time.Date(2027, 1, 31, 17, 0, 0, 0, time.UTC)))
}

// Each mistake is reported with its file, its line and what to write instead.
func TestMistakesNameTheirLine(t *testing.T) {
	good := "- name: a\n  san: a.example\n"
	for _, test := range []struct{ name, text, want string }{
		{"no user", "# nobody\n", "u.yml:1: the file has no user; tickfeed user add NAME"},
		{"empty list", "[]\n", "u.yml:1: the list has no user"},
		{"no list", "name: a\n", "u.yml:1: want a list of users"},
		{"no user in the list", "- a\n", `u.yml:1: want a user, which begins with "- name: NAME"`},
		{"text after a list", good + "- name: b\n  allow: [A] and B\n", "u.yml:4: want a field, such as allow: [ES*], as far indented as the fields before it"},
		{"no value", good + "- name: b\n  depth l1\n  deny: [B]\n", "such as allow: [ES*]"},
		{"not YAML", good + "- name: b\n  allow: [*@X]\n", "u.yml:4: a value that begins with * or & needs quotes"},
		{"unknown field", good + "  allows: [A]\n", `u.yml:3: unknown field "allows"; did you mean "allow"?`},
		{"unknown field far from all", good + "  xyz: [A]\n", `u.yml:3: unknown field "xyz": want one of name, `},
		{"field twice", good + "  name: b\n", "u.yml:3: name is given twice"},
		{"no name", "- san: a.example\n", "u.yml:1: the user has no name: add name: NAME"},
		{"empty name", "- name: ''\n  san: a.example\n", "u.yml:1: name: want a name that is not empty"},
		{"no credentials", "- name: a\n", "u.yml:1: a user has either token_sha256, which tickfeed user add makes, or san"},
		{"both credentials", good + "  token_sha256: " + hash("x") + "\n", "u.yml:1: a user has either"},
		{"a token itself", "- name: a\n  token_sha256: secret\n", "u.yml:2: token_sha256: want the SHA-256 of the token, 64 hexadecimal digits"},
		{"wildcard", "- name: a\n  san: '*.example'\n", "u.yml:2: san: want the exact name"},
		{"name twice", good + "- name: a\n  san: b.example\n", "u.yml:3: the name is that of the user in line 1"},
		{"san twice", good + "- name: b\n  san: a.example\n", "u.yml:3: the san is that of the user in line 1"},
		{"pattern", good + "  allow: ['@X']\n", `u.yml:3: allow: pattern "@X" names no symbol`},
		{"no list of patterns", good + "  deny: A\n", "u.yml:3: deny: want a list, such as [A, B]"},
		{"blank before a pattern", good + "  deny: [A, ' B']\n", `u.yml:3: deny: " B" begins or ends with a blank: remove it`},
		{"empty list of patterns", good + "  allow: []\n", "u.yml:3: allow: want a list"},
		{"depth", good + "  depth: l3\n", `u.yml:3: depth: must be l2 or l1, got "l3"`},
		{"history", good + "  history: 7d\n", `u.yml:3: history: want a duration such as 24h or 30m, or none, got "7d"`},
		{"policy", good + "  policies: [fast]\n", `u.yml:3: policies: want a list of all, latest and disconnect, got "fast"`},
		{"connections", good + "  connections: 0\n", `u.yml:3: connections: want a number from 1, got "0"`},
		{"expires", good + "  expires: tomorrow\n", "u.yml:3: expires: want a date such as 2027-01-31"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := users.Parse("u.yml", []byte(test.text))
			require.ErrorContains(t, err, test.want)
			var mistake *users.Error
			assert.True(t, errors.As(err, &mistake))
		})
	}
	_, err := users.Parse("u.yml", []byte(good+"  depth: l3\n- name: b\n"))
	assert.Len(t, strings.Split(err.Error(), "\n"), 2, "all mistakes are reported at once")
}

// A file that changes is in force half a second later, one that cannot be used leaves the one before in force and is reported
// once, and a permission that stays the same stays the same pointer.
func TestChangesAreInForceSoon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yml")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	user := func(name, rest string) string {
		return "- name: " + name + "\n  token_sha256: " + hash(name) + "\n" + rest
	}
	write(user("a", "") + user("b", "  expires: 2000-01-01T00:01:00Z\n"))
	synctest.Test(t, func(t *testing.T) {
		var said []error
		f, err := users.Open(path, func(err error) { said = append(said, err) })
		require.NoError(t, err)
		a, b := publisher.NewLogin("a", ""), publisher.NewLogin("b", "b.example")
		first, err := f.Authorize(a)
		require.NoError(t, err)
		_, err = f.Authorize(b)
		require.NoError(t, err)
		_, err = f.Authorize(publisher.NewLogin("", ""))
		require.ErrorContains(t, err, "no token was sent")
		_, err = f.Authorize(publisher.NewLogin("guess", "b.example"))
		require.ErrorContains(t, err, "the token is wrong")
		_, err = f.Authorize(publisher.NewLogin("", "other.example"))
		require.ErrorContains(t, err, "the name in the certificate is that of no user")

		write(user("a", "") + user("b", "  allow: [A]\n"))
		again, err := f.Authorize(a)
		require.NoError(t, err)
		assert.Same(t, first, again)
		assert.Empty(t, said, "the file is not read for each login")
		time.Sleep(time.Second)
		again, err = f.Authorize(a)
		require.NoError(t, err)
		assert.Same(t, first, again, "nothing has changed for this user")
		assert.Equal(t, []error{nil}, said)

		for range 3 {
			write("- name: a\n")
			time.Sleep(time.Second)
			again, err = f.Authorize(a)
			require.NoError(t, err)
		}
		assert.Same(t, first, again)
		require.Len(t, said, 2, "once")
		assert.ErrorContains(t, said[1], path+":1: a user has either")
		assert.ErrorContains(t, said[1], "the users before stay in force")
		n, err := f.Reload()
		assert.Equal(t, 2, n)
		assert.ErrorContains(t, err, path+":1: a user has either", "also if it has not changed")
		require.NoError(t, os.Remove(path))
		time.Sleep(time.Second)
		_, err = f.Authorize(a)
		require.NoError(t, err)
		require.Len(t, said, 3)

		write(user("a", "  depth: l1\n") + "- {name: c, san: b.example}\n")
		time.Sleep(time.Second)
		again, err = f.Authorize(a)
		require.NoError(t, err)
		assert.Equal(t, publisher.DepthL1, again.Depth)
		_, err = f.Authorize(b)
		assert.Error(t, err, "a token counts, not the certificate beside it")
		c, err := f.Authorize(publisher.NewLogin("", "b.example"))
		require.NoError(t, err)
		assert.Equal(t, "c", c.User)
		assert.Equal(t, "c", f.NeedsCertificates())
		write(user("a", ""))
		n, err = f.Reload()
		require.NoError(t, err)
		assert.Equal(t, 1, n, "read at once")

		write(user("b", "  expires: 2000-01-01T00:01:00Z\n"))
		time.Sleep(time.Second)
		_, err = f.Authorize(b)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		_, err = f.Authorize(b)
		assert.ErrorContains(t, err, "user b expired at 2000-01-01T00:01:00Z")
	})
}

// Expired returns the users who have expired, and Check why the file is not in force.
func TestExpiredAndCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yml")
	text := "- {name: b, san: b, expires: 2026-01-02}\n- {name: a, token_sha256: " + hash("a") + ", expires: 2026-01-01}\n- {name: c, san: c}\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	f, err := users.Open(path, nil)
	require.NoError(t, err)
	names := func(now time.Time) (names []string) {
		for _, u := range f.Expired(now) {
			names = append(names, u.Permission.User)
		}
		return names
	}
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	assert.Empty(t, names(first.Add(-1)))
	assert.Equal(t, []string{"a"}, names(first))
	assert.Equal(t, []string{"a", "b"}, names(first.AddDate(0, 0, 1)))
	assert.NoError(t, f.Check())
	require.NoError(t, os.WriteFile(path, []byte("- name: c\n"), 0o600))
	_, err = f.Reload()
	require.Error(t, err)
	assert.Equal(t, err, f.Check())
}

// Add keeps the file as it is, writes the SHA-256 of a new token, and refuses what would not be right.
func TestAddKeepsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yml")
	one, err := users.Add(path, users.Entry{Name: "one", Allow: []string{"ES*", "*@X"}, Depth: "l1", History: "24h", Policies: []string{"all"}, Connections: 2, Expires: "2027-01-31"})
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(text), hash(string(one)))
	assert.NotContains(t, string(text), string(one))
	require.NoError(t, os.WriteFile(path, append([]byte("# ours\n"), text[:len(text)-1]...), 0o600))
	none, err := users.Add(path, users.Entry{Name: "two", SAN: "two.example"})
	require.NoError(t, err)
	assert.Empty(t, none)
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(text), "# ours\n- name: one\n"))
	f, err := users.Open(path, nil)
	require.NoError(t, err)
	p, err := f.Authorize(publisher.NewLogin(one, ""))
	require.NoError(t, err)
	assert.Equal(t, codec.Filter{"ES*", "*@X"}, p.Allow)
	_, err = f.Authorize(publisher.NewLogin("", "two.example"))
	require.NoError(t, err)

	_, err = users.Add(path, users.Entry{Name: "one"})
	assert.EqualError(t, err, path+":2: there is a user one already: choose another name, or remove that entry first; nothing is written")
	_, err = users.Add(path, users.Entry{Name: "three", SAN: "two.example"})
	assert.ErrorContains(t, err, fmt.Sprintf("%s:%d: the san two.example is that of user two", path, 1+strings.Count(string(text[:strings.Index(string(text), "- name: two")]), "\n")))
	for _, path := range []string{path, filepath.Join(t.TempDir(), "new.yml")} { // the mistake is in no file
		_, err = users.Add(path, users.Entry{Name: "three", Depth: "l9", Policies: []string{"some", "all", "none"}})
		assert.EqualError(t, err, `nothing is written: depth: must be l2 or l1, got "l9"; policies: want a list of all, latest and disconnect, got "some"; policies: want a list of all, latest and disconnect, got "none"`)
	}
	_, err = users.Add(path, users.Entry{Name: "three", Expires: "2020-01-31"})
	assert.ErrorIs(t, err, users.ErrExpired)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(after))
	require.NoError(t, os.WriteFile(path, []byte("  - name: a\n    san: a\n"), 0o600))
	_, err = users.Add(path, users.Entry{Name: "b"})
	assert.ErrorContains(t, err, "cannot be appended to this file")

	full := "- {name: a, san: a}\n#" + strings.Repeat("x", smallfile.Max-100) + "\n"
	require.NoError(t, os.WriteFile(path, []byte(full), 0o600))
	_, err = users.Add(path, users.Entry{Name: "b"})
	assert.ErrorContains(t, err, "users.yml would be longer than 1048576 bytes, and no publisher would read it")
	after, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, full == string(after), "nothing is written")
	_, err = users.Add(path, users.Entry{Name: "b", SAN: "b"})
	require.NoError(t, err, "a shorter entry fits")
	_, err = users.Open(path, nil)
	require.NoError(t, err)
}
