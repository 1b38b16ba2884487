package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// partnerAnnotation is the annotation of a flag that has no use without others. It holds the flags that must be given; one that holds
// alternatives is written with | between them.
const partnerAnnotation = "partners"

// needPartners records that each flag in names, separated by commas, has no use in cmd without all partners. The environment and the
// file of --config are for many command lines, so settle leaves out their values for flags without their partners. On the
// command line such a flag is an error, which the check of each command reports in its own words.
//
// A flag whose absence would make something less safe, such as --tls-client-ca, must not be listed here: its value would be dropped
// without an error.
func needPartners(cmd *cobra.Command, names string, partners ...string) {
	for name := range strings.SplitSeq(names, ",") {
		annotate(cmd.Flags().Lookup(name), partnerAnnotation, partners...)
	}
}

// annotate sets an annotation of f.
func annotate(f *pflag.Flag, annotation string, values ...string) {
	if f.Annotations == nil {
		f.Annotations = make(map[string][]string)
	}
	f.Annotations[annotation] = values
}

// missingPartner returns what f lacks in flags, such as "--ticks or --at", or "" if nothing.
func missingPartner(flags *pflag.FlagSet, f *pflag.Flag) string {
	for _, partner := range f.Annotations[partnerAnnotation] {
		names := strings.Split(partner, "|")
		if !slices.ContainsFunc(names, func(name string) bool { return isGiven(flags.Lookup(name)) }) {
			return "--" + strings.Join(names, " or --")
		}
	}
	return ""
}

// isGiven reports whether f has a value that is not that of its type: --http="" is not given.
func isGiven(f *pflag.Flag) bool { return isValue(f.Value.String()) }

// isValue reports whether text is not the value that the type of a flag begins with.
func isValue(text string) bool { return !slices.Contains([]string{"", "false", "0", "[]"}, text) }

// byPartners returns the flags, each behind all its partners.
func byPartners(flags *pflag.FlagSet) (sorted []*pflag.Flag) {
	var add func(f *pflag.Flag)
	add = func(f *pflag.Flag) {
		if slices.Contains(sorted, f) {
			return
		}
		for _, partner := range f.Annotations[partnerAnnotation] {
			for name := range strings.SplitSeq(partner, "|") {
				add(flags.Lookup(name))
			}
		}
		sorted = append(sorted, f)
	}
	flags.VisitAll(add)
	return sorted
}

// dropUnlessGiven sets *v to its zero value if the environment or the file has set the flag called name, which has no use in this
// command line.
func dropUnlessGiven[T any](cmd *cobra.Command, name string, v *T) {
	if !cmd.Flags().Changed(name) {
		*v = *new(T)
	}
}
