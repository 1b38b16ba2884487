package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"tickfeed/codec"
)

// A build describes how this binary was built.
type build struct {
	Version  string `json:"version"`          // version of the module; (devel) if built from a checkout
	Commit   string `json:"commit,omitempty"` // unknown if empty
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Protocol int    `json:"protocol"`
}

func thisBuild() build {
	b := build{
		Version: "(devel)", Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Protocol: codec.Version,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// software returns the name and version that is sent to peers.
func software() string { return "tickfeed " + thisBuild().Version }

func (p *program) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary and of the protocol it speaks",
		Example: "  tickfeed version\n  tickfeed version --json",
		Args:    wantArgs(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			if asJSON {
				return output(json.NewEncoder(p.stdout).Encode(b))
			}
			commit := b.Commit
			if commit == "" {
				commit = "unknown"
			}
			if b.Modified {
				commit += " (modified)"
			}
			_, err := fmt.Fprintf(p.stdout, "tickfeed %s\ncommit   %s\ngo       %s %s\nprotocol %d\n",
				b.Version, commit, b.Go, b.Platform, b.Protocol)
			return output(err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
