package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/publisher/users"
)

// openUsers reads the file of publish --users. Changes of the file are logged. certificates says that clients show verified ones.
func openUsers(path string, certificates bool, log zerolog.Logger) (*users.File, error) {
	file, err := users.Open(path, func(err error) {
		if err != nil {
			log.Error().Err(err).Msg("users")
		} else {
			log.Info().Str("file", path).Msg("new users are in force")
		}
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, usage("--users: %w; tickfeed user add NAME --users %s creates it", err, path)
	case err != nil:
		return nil, usage("--users: %w", err)
	}
	if name := file.NeedsCertificates(); name != "" && !certificates {
		return nil, usage("--users %s: user %s is known by a certificate: name the authorities whose clients are admitted with --tls-client-ca", path, name)
	}
	return file, nil
}

// userOptions are the flags of user add.
type userOptions struct {
	file  string
	entry users.Entry
}

func (p *program) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Say who may connect to a publisher, and see what",
		Args:  cobra.NoArgs,
		Long:  `Work with the file of publish --users.`,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.userAddCommand())
	return cmd
}

func (p *program) userAddCommand() *cobra.Command {
	var o userOptions
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a token for a new user, and add the user to the file of publish --users",
		Long: `Append a user to a file for publish --users, which is created if it does not exist, and print the
user's new token. It is printed once: the file has only its SHA-256. With --san the user has no token,
and is known by the one name in the certificate that the client shows (publish --tls-client-ca).

A running publisher reads the file again within a second. The file is a list in YAML, to be edited as
well: a user who is removed, or has expired, is disconnected, and one who may see less than before is
sent less from then on. If the file has a mistake, the users before stay in force, and the log says why.

  - name: futures-desk
    token_sha256: 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
    allow: [ES*, "*@XCME"]        # patterns as of subscribe --symbols; everything if it is left out
    deny: [ESZ*]                  # of those; nothing if it is left out
    depth: l1                     # no levels of the book; l2, everything, if it is left out
    history: 24h                  # nothing older at the login, or none; all if it is left out
    policies: [all, latest]       # as of subscribe --slow; all of them if it is left out
    connections: 5                # at the same time; any number if it is left out
    expires: 2027-01-31           # or 2027-01-31T18:00:00Z; never if it is left out`,
		Example: `  tickfeed user add futures-desk --users users.yml --allow 'ES*,NQ*' --expires 2027-01-31 > token
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
		f.StringVar(&e.History, "history", "", "how far back the user may ask for ticks: `TIME` such as 24h, or none (default: all)")
		f.StringSliceVar(&e.Policies, "policies", nil, "the `POLICIES` for slow subscribers that the user may choose: all, latest, disconnect (default: each)")
		f.IntVar(&e.Connections, "connections", 0, "how many connections the user may have at the same time: `N` (default: any number)")
		f.StringVar(&e.Expires, "expires", "", "when the user is disconnected for good: a `TIME` such as 2027-01-31 or 2027-01-31T18:00:00Z (default: never)")
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
		return usage("--connections must be at least 1, got %d", o.entry.Connections)
	}
	o.entry.Name = name
	token, err := users.Add(o.file, o.entry)
	if mistake := (*users.Error)(nil); errors.As(err, &mistake) {
		return usage("%w", err)
	} else if err != nil {
		return err
	}
	if token == "" {
		p.notef("user %s is added to %s", name, o.file)
		return nil
	}
	p.notef("user %s is added to %s; the token is printed only now", name, o.file)
	_, err = fmt.Fprintln(p.stdout, string(token))
	return output(err)
}
