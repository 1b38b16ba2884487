package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
	"tickfeed/publisher/users"
)

// An admission decides which clients may connect to a publisher.
type admission struct {
	token  codec.Token // that all clients must present; empty for none
	users  *users.File // nil for none
	unused bool        // TICKFEED_TOKEN is set, and overridden by --users on the command line
}

// admission returns the admission that the flags ask for. It logs when a changed file of --users comes into force or has a mistake.
func (o *publishOptions) admission(ctx context.Context, log zerolog.Logger) (a admission, err error) {
	if a.token, err = token(ctx, o.tokenFile); err != nil || o.users == "" {
		return a, err
	}
	if a.token != "" && o.tokenFile == "" && o.usersFlag.Changed {
		a.token, a.unused = "", true
	}
	if a.token != "" {
		return a, usage("--users and the one token of --token-file or TICKFEED_TOKEN exclude each other: leave out one of them")
	}
	file, err := users.Open(o.users, func(err error) {
		if err != nil {
			log.Error().Err(err).Msg("there is a problem with the file of users")
		} else {
			log.Info().Str("file", o.users).Msg("new users are in force")
		}
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return a, usage("--users: %w; tickfeed user add NAME --users %s creates it", err, o.users)
	case err != nil:
		return a, usage("--users: %w", err)
	}
	if name := file.NeedsCertificates(); name != "" && o.tls.clientCA == "" {
		return a, usage("--users %s: user %s is known by a certificate: name the authorities whose clients are admitted with --tls-client-ca", o.users, name)
	}
	a.users = file
	return a, nil
}

// authorize returns what publisher.Config takes.
func (a admission) authorize() func(publisher.Login) (*publisher.Permission, error) {
	if a.users == nil {
		return nil
	}
	return a.users.Authorize
}

// needsCredentials reports whether clients need credentials.
func (a admission) needsCredentials() bool { return a.token != "" || a.users != nil }

// needsCredentials reports whether clients need credentials of who, or a certificate.
func (o *publishOptions) needsCredentials(who admission) bool {
	return who.needsCredentials() || o.tls.clientCA != ""
}

// String describes a for people.
func (a admission) String() string {
	switch {
	case a.users != nil:
		n, _ := a.users.Reload()
		return nouns.Count(n, "user")
	case a.token != "":
		return "clients with the token"
	}
	return "any client"
}

// shownExpired bounds the expired users that warnings name.
const shownExpired = 8

// warnings returns a warning for each user who has expired at the time now.
func (a admission) warnings(now time.Time) (warnings []string) {
	if a.users == nil {
		return nil
	}
	for i, u := range a.users.Expired(now) {
		if i == shownExpired {
			return append(warnings, fmt.Sprintf("more than %d users have expired; remove them from the file of --users", shownExpired))
		}
		warnings = append(warnings, fmt.Sprintf("user %s expired at %s and is refused: write a later time, or remove the user from the file of --users",
			u.Permission.User, u.Expires.UTC().Format(time.RFC3339)))
	}
	return warnings
}

// reloadables returns the file of users, which reload reads again.
func (a admission) reloadables() []reloadable {
	if a.users == nil {
		return nil
	}
	return []reloadable{{"users", func() (string, error) {
		n, err := a.users.Reload()
		return nouns.Count(n, "user"), err
	}}}
}

// userOptions are the flags of user add.
type userOptions struct {
	file  string
	entry users.Entry
}

func (p *program) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user COMMAND",
		Short: "Say who may connect to a publisher, and what each user may see",
		Args:  cobra.NoArgs,
		Long:  `Work with the file of publish --users.`,
		RunE:  commandMissing,
	}
	cmd.AddCommand(p.userAddCommand())
	return cmd
}

func (p *program) userAddCommand() *cobra.Command {
	var o userOptions
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user to the file of publish --users, with a new token",
		Long: `Append a user to a file for publish --users, which is created if it does not exist, and print the
user's new token. It is printed once: the file has only its SHA-256. With --san the user has no token,
and is known by the one name in the certificate that the client shows (publish --tls-client-ca).

The file is a list in YAML, which may also be edited. A running publisher reads a changed file within two
seconds. It disconnects for good the subscribers of a user who is removed, has expired, or may no longer
see anything that was asked for; such a subscriber must be started again once the user is permitted
again. A subscriber of a user who may see less than before is sent less from then on. If the file has a
mistake, the previous users stay in force, and the log says why. Write a new file beside the old one and
rename it, so that the publisher never reads half of it.

  - name: futures-desk
    token_sha256: 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
    allow: [ES*, "*@XCME"]        # patterns, as in subscribe --symbols (default: all)
    deny: [ESZ*]                  # except these patterns (default: none)
    depth: l1                     # l1, without the levels of the book, or l2 (default)
    history: 24h                  # how old ticks may be at the login, or none (default: all)
    policies: [all, latest]       # as in subscribe --slow (default: each of them)
    connections: 5                # at the same time (default: any number)
    expires: 2027-01-31           # at 00:00 UTC, as that day begins; or 2027-01-31T18:00:00Z
                                  # (default: never)`,
		Example: `  tickfeed user add futures-desk --users users.yml --expires 2027-01-31 > token
  tickfeed publish --journal j --users users.yml
  tickfeed subscribe --token-file token
  tickfeed user add risk --users users.yml --san risk.example.com`,
		Args: wantArgs(1, 1, "name"),
		RunE: func(_ *cobra.Command, args []string) error { return p.userAdd(&o, args[0]) },
	}
	group(cmd, "User", func(f *pflag.FlagSet) {
		e := &o.entry
		f.StringVar(&o.file, "users", "", "the `FILE`")
		f.StringSliceVar(&e.Allow, "allow", nil, "the instruments that the user may see: `PATTERNS` such as 'AAPL,ES*@XCME' (default: all)")
		f.StringSliceVar(&e.Deny, "deny", nil, "the `PATTERNS` of those that the user may not see (default: none)")
		f.StringVar(&e.Depth, "depth", "", "`LEVEL` l1, without the levels of the book, or l2, everything (default: l2)")
		f.StringVar(&e.History, "history", "", "how old the ticks may be that the user asks for at the login: `TIME` such as 24h, or none (default: all)")
		f.StringSliceVar(&e.Policies, "policies", nil, "the `POLICIES` for slow subscribers that the user may choose: all, latest, disconnect (default: each)")
		f.IntVar(&e.Connections, "connections", 0, "how many connections the user may have at the same time: `N`, or 0 for any number")
		f.StringVar(&e.Expires, "expires", "", "when the user is disconnected for good: a `TIME` such as 2027-01-31T18:00:00Z, or a date such as 2027-01-31, which is 00:00 UTC, as that day begins (default: never)")
		f.StringVar(&e.SAN, "san", "", "the exact `NAME` in the certificate of the user, who then has no token")
		f.Lookup("connections").DefValue = "0"
	})
	return cmd
}

func (p *program) userAdd(o *userOptions, name string) error {
	switch {
	case o.file == "":
		return usage("user add: name the file with --users FILE")
	case o.entry.Connections < 0:
		return usage("--connections must not be negative, got %d; 0 allows any number", o.entry.Connections)
	}
	for _, list := range [][]string{o.entry.Allow, o.entry.Deny, o.entry.Policies} {
		for i, word := range list { // as subscribe does with its symbols
			list[i] = strings.TrimSpace(word)
		}
	}
	o.entry.Name = name
	token, err := users.Add(o.file, o.entry)
	until := ""
	if t, err := users.Expiry(o.entry.Expires); err == nil {
		until = " until " + t.UTC().Format(time.RFC3339)
	}
	switch mistake := (*users.Error)(nil); {
	case errors.Is(err, users.ErrExpired):
		return usage("--expires %s is in the past: the user would be valid%s; write a time in the future, such as %s, or leave the flag out for a user who never expires; nothing is written",
			o.entry.Expires, until, time.Now().UTC().AddDate(0, 1, 0).Format(time.DateOnly))
	case errors.As(err, &mistake):
		return usage("%w", err)
	case err != nil:
		return err
	}
	if token == "" {
		p.notef("user %s is added to %s%s", name, o.file, until)
		return nil
	}
	p.notef("user %s is added to %s%s; the token is shown only this once", name, o.file, until)
	if _, err = fmt.Fprintln(p.stdout, string(token)); err != nil { // a reader that is gone has not read it either
		return fmt.Errorf("write the token: %w; nobody has it: take user %s out of %s, and add it again", err, name, o.file)
	}
	return nil
}
