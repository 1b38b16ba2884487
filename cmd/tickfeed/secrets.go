package main

import (
	"github.com/rs/zerolog"

	"tickfeed/codec/filemode"
)

// exposed returns a warning for each of the files that hold secrets and that users of this machine can read who need not. Empty
// paths are left out.
func exposed(paths ...string) (warnings []string) {
	for _, path := range paths {
		if path == "" {
			continue
		}
		if err := filemode.Exposed(path); err != nil {
			warnings = append(warnings, err.Error())
		}
	}
	return warnings
}

// warnOfSecrets writes what exposed returns to standard error.
func (p *program) warnOfSecrets(paths ...string) {
	for _, w := range exposed(paths...) {
		p.note(zerolog.WarnLevel, "warning: %s", w)
	}
}
