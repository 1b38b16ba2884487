package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/ops"
)

// healthOptions are the flags of health.
type healthOptions struct {
	askOptions
	live    bool
	json    bool
	timeout time.Duration
}

func (p *program) healthCommand() *cobra.Command {
	var o healthOptions
	cmd := &cobra.Command{
		Use:   "health [ADDR]",
		Short: "Check whether a command on this machine does its work",
		Long: `Ask the command that serves HTTP at ADDR (default ` + defaultHTTP + `) whether it does its work, and print the
conditions. A publisher does its work if it can write its journal and its head moves or the market is closed; a
subscriber or a recorder, if it has joined a publisher; a lab, if it could reach its publisher when it last tried.

Exit codes, as container platforms want them: 0 it does its work; 1 it does not, does not respond, or cannot be
asked, such as over HTTPS without its authority; 2 usage.`,
		Example: "  tickfeed health\n  tickfeed health --live unix:/run/tickfeed-http.sock\n  HEALTHCHECK CMD tickfeed health || exit 1     # in a Dockerfile",
		Args:    wantArgs(0, 1, "address"),
		RunE:    func(cmd *cobra.Command, args []string) error { return p.health(cmd.Context(), &o, args) },
	}
	group(cmd, "Health", func(f *pflag.FlagSet) {
		f.BoolVar(&o.live, "live", false, "only check that the process responds")
		f.DurationVar(&o.timeout, "timeout", 5*time.Second, "fail if there is no response within this time")
		f.BoolVar(&o.json, "json", false, "print the answer as JSON")
	})
	o.askOptions.define(cmd)
	return cmd
}

func (p *program) health(ctx context.Context, o *healthOptions, args []string) error {
	if o.timeout <= 0 {
		return usage("--timeout must be positive, got %v", o.timeout)
	}
	addr := defaultHTTP
	if len(args) > 0 {
		addr = args[0]
	}
	client, err := o.client(ctx, p, "address", addr)
	if err != nil {
		return err
	}
	addr = client.Addr
	path := "/readyz"
	if o.live {
		path = "/livez"
	}
	answer, err := client.Ask(ctx, path, nil, "application/json", o.timeout)
	if err != nil {
		return unhealthy(askError(ctx, addr, err))
	}
	var c ops.Checks
	if err := json.Unmarshal(answer.Body, &c); err != nil {
		return fmt.Errorf("%s: %w", addr, cmp.Or(answer.Err(), ops.ErrForeign))
	}
	text := printable(c.String())
	if o.json {
		text = string(printableJSON([]byte(strings.TrimSpace(string(answer.Body)))))
	}
	if _, err := fmt.Fprintln(p.stdout, text); err != nil {
		return output(err)
	}
	if !c.Ok {
		return &exitError{exitFailure, fmt.Errorf("the tickfeed %s at %s is not ready", answer.Command, addr)}
	}
	return nil
}

// unhealthy returns err with the exit code 1 if it has that of a refusal: a container platform takes every code but 0 and 1 for a
// mistake in its own configuration.
func unhealthy(err error) error {
	if coded := (*exitError)(nil); errors.As(err, &coded) && coded.code == exitRefused {
		return &exitError{exitFailure, coded.err}
	}
	return err
}
