package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// excludedAnnotation is the annotation of a flag that holds the flags by which it is excluded.
const excludedAnnotation = "excluded"

// excludeEachOther records that at most one of the flags called names can be given. If they come from different origins, the flag of
// the strongest origin is in force, and settle leaves out the others, as an option on the command line overrides the environment and
// the environment overrides the file of --config. Two of one origin are an error, which the check of each command reports in its own
// words.
func excludeEachOther(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		for _, other := range names {
			if other != name {
				exclude(flags, name, other)
			}
		}
	}
}

// exclude records that the flag called name cannot be given with the one called by, and is left out if by has a stronger origin. In the
// other direction the two are an error whatever their origins. It is for flags such as --users, without which more clients are
// admitted: such a flag is never left out without an error.
func exclude(flags *pflag.FlagSet, name, by string) {
	f := flags.Lookup(name)
	annotate(f, excludedAnnotation, append(f.Annotations[excludedAnnotation], by)...)
}

// A settingOrigin is where the value of a flag comes from. A greater one overrides a smaller one.
type settingOrigin int

const (
	notGiven settingOrigin = iota
	fromFile
	fromEnvironment
	fromCommandLine
)

// settingOrigins holds the origin of each flag, by its name, whose value is not the default.
type settingOrigins map[string]settingOrigin

// originsOf returns the origins of the flags of cmd. k holds the settings of the environment and the file.
func originsOf(cmd *cobra.Command, k *koanf.Koanf, environ []string) settingOrigins {
	o := make(settingOrigins)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		switch name := key(cmd, cmd.Name(), f.Name); {
		case f.Changed:
			o.note(f, f.Value.String(), fromCommandLine)
		case !k.Exists(name):
		case lookup(environ, envName(f.Name)) != "":
			o.note(f, fmt.Sprint(k.Get(name)), fromEnvironment)
		default:
			o.note(f, fmt.Sprint(k.Get(name)), fromFile)
		}
	})
	return o
}

// note records that f has the value text from an origin.
func (o settingOrigins) note(f *pflag.Flag, text string, from settingOrigin) {
	if f.Value.Type() == "bool" {
		if on, err := strconv.ParseBool(text); err == nil {
			text = strconv.FormatBool(on)
		}
	}
	if isValue(text) && text != f.DefValue {
		o[f.Name] = from
	}
}

// rival returns the name of a flag of a stronger origin, itself in force, that excludes f, or "".
func (o settingOrigins) rival(flags *pflag.FlagSet, f *pflag.Flag) string {
	if o[f.Name] == notGiven {
		return ""
	}
	i := slices.IndexFunc(f.Annotations[excludedAnnotation], func(name string) bool {
		return o[name] > o[f.Name] && o.rival(flags, flags.Lookup(name)) == ""
	})
	if i < 0 {
		return ""
	}
	return f.Annotations[excludedAnnotation][i]
}

// surprises reports whether the user may not expect that f is left out because of rival. A switch such as --json that gives way to
// --csv on the command line is overridden as any flag is; a file that is not written, or a setting that gives way to a variable that
// was set somewhere else, is not expected.
func (o settingOrigins) surprises(f *pflag.Flag, rival string) bool {
	return f.Value.Type() != "bool" || o[rival] != fromCommandLine
}

// name returns the flag called flag as it was given.
func (o settingOrigins) name(flag string) string {
	if o[flag] == fromEnvironment {
		return envName(flag)
	}
	return "--" + flag
}
