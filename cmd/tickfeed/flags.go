package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/child"
	"tickfeed/codec"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/nouns"
	"tickfeed/feed/script"
)

const envPrefix = child.EnvPrefix

// envName returns the environment variable of a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// notSet are the flags that can only be set on the command line.
var notSet = []string{"help", "version"}

// settle sets every flag of cmd that the command line left out from the environment, or else from the YAML file at path,
// if path is not empty. A key in the file that is not a flag is an error. Other environment variables that begin with
// TICKFEED_ are not errors, because container platforms invent some (TICKFEED_PORT); see strangers. A value for a flag that has no use
// without its partners (see needPartners) is left out without them, and so is one that is excluded by a flag of a stronger origin (see
// excludeEachOther). settle returns a warning in unused if that may surprise the user.
func settle(ctx context.Context, cmd *cobra.Command, path string, environ []string) (unused []string, failed error) {
	k := koanf.New("\n") // a delimiter that no key contains
	var file settings
	if path == "" {
		path = lookup(environ, envName("config"))
	}
	if path != "" {
		file, failed = loadSettings(ctx, cmd.Root(), k, path)
	}
	section := cmd.Name()
	keys := make(map[string]string) // keys by environment variable
	cmd.Flags().VisitAll(func(f *pflag.Flag) { keys[envName(f.Name)] = key(cmd, section, f.Name) })
	if err := k.Load(env.Provider("\n", env.Opt{
		Prefix: envPrefix,
		TransformFunc: func(name, value string) (string, any) {
			if value == "" {
				return "", nil // an empty variable counts as not set
			}
			return keys[name], value
		},
		EnvironFunc: func() []string { return environ },
	}), nil); err != nil {
		failed = errors.Join(failed, usage("environment: %w", err))
	}
	given := originsOf(cmd, k, environ)
	for _, f := range byPartners(cmd.Flags()) {
		name := key(cmd, section, f.Name)
		if f.Changed || slices.Contains(notSet, f.Name) || !k.Exists(name) {
			continue
		}
		where, fromFile := envName(f.Name), lookup(environ, envName(f.Name)) == ""
		if fromFile {
			where = file.place(strings.Split(name, "\n")...) + ": " + strings.ReplaceAll(name, "\n", ".")
		}
		if rival := given.rival(cmd.Flags(), f); rival != "" {
			if given.surprises(f, rival) || validates(cmd) {
				unused = append(unused, where+" is not used with "+given.name(rival))
			}
			continue
		}
		if partner := missingPartner(cmd.Flags(), f); partner != "" {
			if fromFile || validates(cmd) { // the environment is that of other commands, too
				unused = append(unused, where+" is not used without "+partner)
			}
			continue
		}
		if err := setFlag(f, k.Get(name)); err != nil {
			failed = errors.Join(failed, usage("%s: %w", where, err))
		}
		annotate(f, settingAnnotation, where)
	}
	return unused, failed
}

// settingAnnotation is the annotation of a flag that was set by the environment or a file: by which variable, or where in the file.
const settingAnnotation = "setting"

// namedSettings returns what has set the flags that text, an error, names as if they had been typed: "; --json is set by TICKFEED_JSON".
func namedSettings(flags *pflag.FlagSet, text string) (where string) {
	flags.VisitAll(func(f *pflag.Flag) {
		set := f.Annotations[settingAnnotation]
		if len(set) == 0 || strings.Contains(text, set[0]) {
			return
		}
		for _, after := range strings.Split(text, "--"+f.Name)[1:] {
			if after == "" || !strings.ContainsAny(after[:1], "-abcdefghijklmnopqrstuvwxyz0123456789") {
				where += "; --" + f.Name + " is set by " + set[0]
				return
			}
		}
	})
	return where
}

// loadSettings reads the YAML file at path into k. The error joins all mistakes in its form and its keys.
func loadSettings(ctx context.Context, root *cobra.Command, k *koanf.Koanf, path string) (file settings, failed error) {
	b, err := readSmall(ctx, path, maxConfigFile)
	if err != nil {
		return file, usage("--config: %w", err)
	}
	if file, err = readSettings(path, b); err != nil {
		return file, err
	}
	if err := k.Load(provided(b), yaml.Parser()); err != nil {
		return file, usage("--config %s: %w", path, err)
	}
	checkKeys(root, k.Raw(), func(err error, keys ...string) {
		failed = errors.Join(failed, usage("%s: %w", file.place(keys...), err))
	})
	return file, failed
}

// indented returns text with two blanks before each line.
func indented(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// inventedSuffixes are suffixes of the variables that container platforms set for a service named tickfeed.
var inventedSuffixes = []string{"_PORT", "_SERVICE_HOST", "_HOST", "_ADDR", "_PROTO"}

// strangers returns the variables of environ that begin with TICKFEED_ and are not settings of any command, each with a
// suggestion if there is one.
func strangers(root *cobra.Command, environ []string) (found []string) {
	known := map[string]bool{envPrefix + "TOKEN": true, httpTokenEnv: true, envPrefix + "DATA": true} // TICKFEED_DATA is for tests
	var add func(cmd *cobra.Command)
	add = func(cmd *cobra.Command) {
		note := func(f *pflag.Flag) { known[envName(f.Name)] = true }
		cmd.Flags().VisitAll(note)
		cmd.PersistentFlags().VisitAll(note)
		for _, c := range cmd.Commands() {
			add(c)
		}
	}
	add(root)
	var settable []string
	for _, name := range slices.Sorted(maps.Keys(known)) {
		settable = append(settable, strings.TrimPrefix(name, envPrefix))
	}
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix) || known[name] || slices.ContainsFunc(inventedSuffixes, func(s string) bool { return strings.HasSuffix(name, s) }) ||
			strings.Contains(name, "_PORT_") || strings.Contains(name, "_SERVICE_PORT_") {
			continue
		}
		text := name
		if near := script.Nearest(strings.TrimPrefix(name, envPrefix), settable); near != "" {
			text += " (" + envPrefix + near + "?)"
		}
		found = append(found, text)
	}
	slices.Sort(found)
	return found
}

// key returns the key of a flag in the file: at the top level for flags of all commands, otherwise in the section of the
// command.
func key(cmd *cobra.Command, section, flag string) string {
	if cmd.InheritedFlags().Lookup(flag) != nil {
		return flag
	}
	return section + "\n" + flag
}

// setFlag sets f to a value from the environment or the file. A list is text with commas, or a YAML list.
func setFlag(f *pflag.Flag, value any) error {
	list, isSlice := f.Value.(pflag.SliceValue)
	switch v := value.(type) {
	case []any:
		texts := make([]string, len(v))
		for i := range v {
			texts[i] = fmt.Sprint(v[i])
		}
		if isSlice {
			return list.Replace(texts)
		}
		return f.Value.Set(strings.Join(texts, ","))
	case map[string]any, nil:
		return errors.New("want a value or a list")
	default:
		text := fmt.Sprint(v)
		if isSlice {
			if err := list.Replace(strings.Split(text, ",")); err != nil {
				return fmt.Errorf("%q: %w", text, err)
			}
			return nil
		}
		if err := f.Value.Set(text); err != nil {
			return fmt.Errorf("%q: %w", text, valueError(f, text, err))
		}
		return nil
	}
}

// provided is the content of a configuration file as a koanf provider.
type provided []byte

func (p provided) ReadBytes() ([]byte, error) { return p, nil }

func (provided) Read() (map[string]any, error) { return nil, errors.New("text only") }

func lookup(environ []string, name string) string {
	value := ""
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v
		}
	}
	return value
}

// Bounds of the files that are read completely, in bytes.
const (
	maxConfigFile = 1 << 20
	maxTokenFile  = 4 << 10 // a token of codec.MaxToken bytes, with line ends
)

// maxSmallTime bounds the time for reading a small file. It may be a pipe whose writer asks for a password first.
const maxSmallTime = 30 * time.Second

// readSmall reads the whole file at path, which must not be longer than most bytes. The file may be a device without an
// end, or a pipe without a writer: ctx and maxSmallTime end the wait.
func readSmall(ctx context.Context, path string, most int64) ([]byte, error) {
	return readWithin(ctx, path, most, maxSmallTime)
}

func readWithin(ctx context.Context, path string, most int64, longest time.Duration) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	b, err := waitFor(bounded, func() ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readUpTo(f, path, most)
	})
	if errors.Is(err, errInterrupted) && ctx.Err() == nil {
		return nil, fmt.Errorf("%s could not be read completely within %v: is it a pipe that nobody writes to?", path, longest)
	}
	return b, err
}

// readUpTo reads all of r, which is called name and must not be longer than most bytes.
func readUpTo(r io.Reader, name string, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is longer than %d bytes, the most that tickfeed reads: is it the right file?", name, most)
	}
	return b, err
}

// waitFor returns the result of do. If ctx ends first, it returns errInterrupted, and do keeps running in the background.
func waitFor[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := do()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var zero T
		return zero, errInterrupted
	}
}

// token reads the credentials of the feed from the file at path, or from TICKFEED_TOKEN if path is empty.
func token(ctx context.Context, path string) (codec.Token, error) {
	return secret(ctx, tokenFlag, path, envPrefix+"TOKEN")
}

// The names of the tokens of the feed and of HTTP, as errors and helps give them.
const (
	tokenFlag     = "--token-file"
	httpTokenFlag = "--http-token-file"
	httpTokenEnv  = envPrefix + "HTTP_TOKEN"
)

// secret reads credentials from the file at path, the value of flag, or from the environment variable env if path is empty. There
// is no flag for the value itself, because other users of the machine can read command lines.
func secret(ctx context.Context, flag, path, env string) (codec.Token, error) {
	text := os.Getenv(env)
	if path != "" {
		b, err := readSmall(ctx, path, maxTokenFile)
		if err != nil {
			return "", usage("%s: %w", flag, err)
		}
		if text = strings.TrimRight(string(b), "\r\n"); text == "" {
			return "", usage("%s %s: the file is empty", flag, path)
		}
	}
	from := flag + " " + path
	if path == "" {
		from = env
	}
	switch {
	case len(text) > codec.MaxToken:
		return "", usage("%s: the token is %d bytes long, at most %d", from, len(text), codec.MaxToken)
	case strings.TrimSpace(text) != text:
		return "", usage("%s: the token begins or ends with a blank: remove it", from)
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", usage("%s: want one line with the token alone, as plain text: there is a line break, or a character that cannot be printed, such as those of UTF-16 or a byte order mark", from)
	}
	return codec.Token(text), nil
}

// minToken is the least length of a token that is not warned about, in bytes.
const minToken = 16

// guessable returns a warning about a token that clients must present, if it is so short that others may guess it, or "". flag is where
// its file is named.
func guessable(flag string, token codec.Token) string {
	n := len(token)
	if n == 0 || n >= minToken {
		return ""
	}
	return fmt.Sprintf("the token of %s has %s, which others can guess: use at least %d, such as those of: head -c 24 /dev/urandom | base64", flag, nouns.Count(n, "character"), minToken)
}

// symbolFilter returns the filter of --symbols. It trims blanks around patterns, as in 'AAPL, MSFT'.
func symbolFilter(patterns []string) (codec.Filter, error) {
	trimmed := make([]string, len(patterns))
	for i, p := range patterns {
		if trimmed[i] = strings.TrimSpace(p); trimmed[i] == "" {
			return nil, errors.New("a pattern is empty; want SYMBOL or SYMBOL@VENUE, with commas between; * is all")
		}
	}
	f, err := codec.NewFilter(trimmed)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "filter: "))
	}
	return f, nil
}

// wantArgs accepts from least to most arguments; what names the missing one in the error.
func wantArgs(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		line := strings.TrimSuffix(cmd.UseLine(), " [flags]")
		switch n := len(args); {
		case n < least && least > 1:
			return fmt.Errorf("%s must be named: %s", what, line)
		case n < least:
			return fmt.Errorf("the %s is missing: %s", what, line)
		case n > most:
			return fmt.Errorf("unexpected argument %q: %s", args[most], line)
		}
		return nil
	}
}

// flagError rewrites err, from parsing the flags of cmd, for people: it adds the values wanted, or the flag that may have
// been meant.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return fmt.Errorf("--%s %q: %w", invalid.GetFlag().Name, invalid.GetValue(), valueError(invalid.GetFlag(), invalid.GetValue(), invalid.Unwrap()))
	}
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return err
	}
	meant := cmp.Or(map[string]string{"tz": "zone"}[name], script.Nearest(name, flagNames(cmd.Flags())))
	switch use, _, _ := strings.Cut(cmd.UseLine(), " [flags]"); {
	case meant != "":
		return fmt.Errorf("%w (--%s?)", err, meant)
	case slices.Contains([]string{"addr", "address", "host", "http", "upstream"}, name) && strings.Contains(use, "ADDR"):
		return fmt.Errorf("%w; write the address without a flag: %s", err, use)
	}
	return err
}

// flagValues describes the values of the flag types whose own errors are written for programmers.
var flagValues = map[string]string{
	"bool": "true or false", "duration": "a duration such as 500ms, 5s or 1h30m", "float64": "a number such as 2 or 0.5",
	"uint64": "a whole number from 0 to 18446744073709551615", "int": "a whole number below 2^63", "int8": "a whole number from -128 to 127",
}

// valueError rewrites err, about value, which f cannot have, for people. The caller prints value before the error.
func valueError(f *pflag.Flag, value string, err error) error {
	if want := flagValues[f.Value.Type()]; want != "" {
		return fmt.Errorf("want %s", want)
	}
	if errors.As(err, new(*csv.ParseError)) {
		return errors.New("want a list, separated by commas, in which double quotes surround whole parts")
	}
	return rawfile.AsGiven(err, fmt.Sprintf(", got %q", value), "")
}

// refuseEmpty makes an empty value of a flag of text an error, in cmd and its subcommands: most often it is a shell variable that
// is not set, and the flag would silently count as not given.
func refuseEmpty(cmd *cobra.Command) {
	refuse := func(f *pflag.Flag) {
		list, _ := f.Value.(pflag.SliceValue)
		switch f.Value.Type() {
		case "string":
			if f.Name != "http" { // for which it means none
				f.Value = filledText{f.Value}
			}
		case "stringSlice", "stringArray":
			f.Value = filledList{filledText{f.Value}, list, f.Name == "header"} // an empty name is a column to ignore
			f.DefValue = strings.TrimPrefix(f.DefValue, "[]")                   // an empty list is no default for the help
		}
	}
	cmd.LocalNonPersistentFlags().VisitAll(refuse)
	cmd.PersistentFlags().VisitAll(refuse)
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			refuseEmpty(c)
		}
	}
}

// A filledText is the value of a flag that must not be empty.
type filledText struct{ pflag.Value }

func (v filledText) Set(s string) error {
	if s == "" {
		return errors.New("the value is empty (is a shell variable not set?); leave out the flag for its default")
	}
	return v.Value.Set(s)
}

// A filledList is a filledText for a list, whose parts must not be empty either, unless gaps is true.
type filledList struct {
	filledText
	pflag.SliceValue
	gaps bool
}

func (v filledList) Set(s string) error {
	if err := v.filledText.Set(s); err != nil {
		return err
	}
	return v.check(v.GetSlice())
}

// Replace implements pflag.SliceValue.
func (v filledList) Replace(parts []string) error {
	if err := v.check(parts); err != nil {
		return err
	}
	return v.SliceValue.Replace(parts)
}

func (v filledList) check(parts []string) error {
	if !v.gaps && slices.Contains(parts, "") {
		return errors.New("the list has an empty part; remove it, or the comma beside it")
	}
	return nil
}

// groupAnnotation is the annotation that holds the heading of a flag in the help.
const groupAnnotation = "group"

// group adds to cmd, under a heading, the flags that define adds to its argument.
func group(cmd *cobra.Command, heading string, define func(*pflag.FlagSet)) {
	set := pflag.NewFlagSet(heading, pflag.ContinueOnError)
	set.SortFlags = false
	define(set)
	set.VisitAll(func(f *pflag.Flag) { annotate(f, groupAnnotation, heading) })
	cmd.Flags().SortFlags = false
	cmd.Flags().AddFlagSet(set)
}

// writeUsage writes the usage of cmd, with its flags in groups, for a terminal of width columns.
func writeUsage(cmd *cobra.Command, width int) error {
	var b strings.Builder
	topic := isTopic(cmd)
	if !topic {
		fmt.Fprintf(&b, "Usage:\n  %s\n", strings.TrimSuffix(cmd.UseLine(), " [flags]")+" [flags]")
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.Trim(cmd.Example, "\n"))
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() || c.Name() == "help" {
				fmt.Fprintf(&b, "  %-11s %s\n", c.Name(), c.Short)
			}
		}
		heading := "\nMore help (tickfeed help TOPIC):\n"
		for _, c := range cmd.Commands() {
			if isTopic(c) {
				fmt.Fprintf(&b, "%s  %-11s %s\n", heading, c.Name(), c.Short)
				heading = ""
			}
		}
	}
	var headings []string
	sets := make(map[string]*pflag.FlagSet)
	add := func(heading string, f *pflag.Flag) {
		if sets[heading] == nil {
			sets[heading] = pflag.NewFlagSet(heading, pflag.ContinueOnError)
			sets[heading].SortFlags = false
			headings = append(headings, heading)
		}
		sets[heading].AddFlag(f)
	}
	cmd.LocalFlags() // adds the flags of all commands to cmd.Flags
	const common = "Common"
	for _, grouped := range []bool{true, false} {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			g := f.Annotations[groupAnnotation]
			switch {
			case grouped && len(g) > 0:
				add(g[0], f)
			case !grouped && len(g) == 0:
				add(common, f)
			}
		})
	}
	for _, h := range headings {
		if h == groupImport && !topic {
			fmt.Fprintf(&b, "\n%s:\n  \"tickfeed help %s\" lists the flags that say how they are read.\n", h, topicFormats)
			continue
		}
		if topic && h == common {
			continue
		}
		fmt.Fprintf(&b, "\n%s:\n%s", h, sets[h].FlagUsagesWrapped(width))
	}
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}
