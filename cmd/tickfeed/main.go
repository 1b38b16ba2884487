// Command tickfeed publishes, receives and demonstrates a feed of price ticks in which every
// tick is accounted for.
//
// Data goes to standard output and everything else to standard error. The exit code is 0 if the work is done, 1 for a
// failure, 2 for wrong usage or configuration, 3 if the data is wrong, 4 if the peer refused for good (credentials, version) or TLS found something wrong, and
// 130 after Ctrl-C. It is also 0 if SIGTERM or SIGHUP stopped a service that saved everything; at SIGHUP a publisher without
// a terminal reads its files again.
//
// The first Ctrl-C or SIGTERM ends the work in order; if that takes longer than a second, a message on standard error
// names what the process waits for. A second one, at least a second later, ends the process at once; standard error then
// lists what was not saved.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"tickfeed/codec"
	"tickfeed/codec/certs"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/scratch"
	"tickfeed/feed/script"
	"tickfeed/publisher"
	"tickfeed/subscriber"
)

// heapFloor is the size, in bytes, of an allocation that main never touches. It takes no memory, but the garbage
// collector counts it as live, so that a small heap is not collected for each few megabytes. Without it, collections delay
// a late joiner, which allocates the state of all instruments: see "tickfeed bench snapshot". A higher GOGC would also do
// that, but would multiply large heaps. GOGC and GOMEMLIMIT, if set, are respected.
const heapFloor = 16 << 20

func main() {
	var floor []byte
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		floor = make([]byte, heapFloor)
	}
	zerolog.TimeFieldFormat = time.RFC3339Nano
	// A second signal that comes when run has returned must not change the exit code.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
	code := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	runtime.KeepAlive(floor)
	os.Exit(code)
}

// The exit codes.
const (
	exitDone        = 0
	exitFailure     = 1
	exitUsage       = 2
	exitData        = 3
	exitRefused     = 4
	exitInterrupted = 130
)

// An exitError is an error with its exit code.
type exitError struct {
	code int
	err  error // nil if the error was already reported
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

// usage returns an error in the command line or the configuration.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// usageIf returns what usage does if bad, and otherwise nil.
func usageIf(bad bool, format string, args ...any) error {
	if bad {
		return usage(format, args...)
	}
	return nil
}

// wrong returns an error in the data.
func wrong(format string, args ...any) error {
	return &exitError{exitData, fmt.Errorf(format, args...)}
}

var (
	errInterrupted = errors.New("interrupted")
	// errOutputClosed reports that the reader of standard output is gone, such as after "| head".
	errOutputClosed = errors.New("standard output is closed")
)

// run runs the command line args and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	signal.Ignore(syscall.SIGPIPE) // a write to a closed pipe returns an error instead
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer close(signals) // after Stop
	defer signal.Stop(signals)

	p := &program{args: args, stdin: stdin, stdout: stdout, stderr: stderr}
	defer func() { _ = p.scratch.Remove() }() // the next command removes what is left
	if f, ok := stdout.(*os.File); ok {
		p.stdout = &watchedFile{f, p.watch(standardOutputName), isTerminal(f)}
	}
	go p.interrupts(signals, cancel, os.Exit)
	root := p.command()
	if slices.Equal(args, []string{"--version"}) { // as other programs have it
		args = []string{"version"}
	}
	control, _, _ := root.Find([]string{"control"}) // it is there
	root.SetArgs(joined(jumps(args, control.Flags())))
	cmd, err := root.ExecuteContextC(ctx)
	if help := p.help; err == nil && help.err != nil {
		err = &exitError{exitFailure, output(help.err)}
	}
	return p.exit(cmd, err)
}

// A program is one invocation of the command line.
type program struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	help           *checkedWriter // standard output, for cobra

	configFile, logLevel, logFormat string
	color                           string
	running                         bool         // the command line and the configuration were parsed
	misread                         error        // what is wrong with them; only a command that validates runs in spite of it
	scratch                         *scratch.Dir // see scratchDir; nil if the command has no temporary files
	shown                           string       // the credentials that a client shows, for an error; "" for another command

	mu      sync.Mutex    // guards the fields below
	signal  os.Signal     // the first one received; nil before
	hangup  chan struct{} // see hangups; nil if SIGHUP ends the command
	unsaved []*unsaved
	slow    []*slowOutput
}

// A checkedWriter keeps the error of the first failed write, because cobra ignores write errors.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if c.err == nil {
		c.err = err
	}
	return n, err
}

// sameInterrupt is the time after the first signal in which further signals count as the same one: a terminal, a shell
// and a wrapper such as timeout may each pass on one Ctrl-C.
const sameInterrupt = time.Second

// abandonTime bounds the report of what was not saved: standard error may be a pipe that nobody reads.
const abandonTime = 500 * time.Millisecond

// interrupts calls cancel at the first signal, so that the work ends in order, and after waitNotice reports what the
// process waits for. At a signal later than sameInterrupt it reports what was not saved and calls exit. It returns when
// signals is closed.
func (p *program) interrupts(signals <-chan os.Signal, cancel func(), exit func(code int)) {
	sig, ok := <-signals
	for ok && sig == syscall.SIGHUP && p.hungUp() {
		sig, ok = <-signals
	}
	if !ok {
		return
	}
	p.mu.Lock()
	p.signal = sig
	stderr := p.stderr
	p.mu.Unlock()
	if _, raw := stderr.(*console); sig == os.Interrupt && !raw && isTerminal(stderr) {
		fmt.Fprint(stderr, clearLine) // the terminal has echoed ^C, which would make the next line too wide
	}
	first := time.Now()
	cancel()
	notice := time.NewTimer(waitNotice)
	defer notice.Stop()
	for {
		select {
		case <-notice.C:
			go p.sayWaits() // the process may be waiting for standard error itself
			continue
		case sig, ok := <-signals:
			if !ok {
				return
			}
			if sig == syscall.SIGHUP && p.hungUp() {
				continue
			}
		}
		if time.Since(first) < sameInterrupt {
			continue
		}
		said := make(chan struct{})
		go func() {
			defer close(said)
			p.abandon()
		}()
		select {
		case <-said:
		case <-time.After(abandonTime):
		}
		exit(exitInterrupted)
		return
	}
}

// stopped returns the result of a service that was stopped by a signal and saved everything: nil after SIGTERM and
// SIGHUP, which service managers and terminals send, and errInterrupted after Ctrl-C.
func (p *program) stopped() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.signal == syscall.SIGTERM || p.signal == syscall.SIGHUP {
		return nil
	}
	return errInterrupted
}

// besides returns err without the joined errors that match one of ends.
func besides(err error, ends ...error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var rest []error
		for _, e := range joined.Unwrap() {
			rest = append(rest, besides(e, ends...))
		}
		return errors.Join(rest...)
	}
	for _, end := range ends {
		if errors.Is(err, end) {
			return nil
		}
	}
	return err
}

// An unsaved describes data that would be lost, or files that would be left behind, if the process ended now.
type unsaved struct{ say func() string }

// owe registers say, which describes unsaved data, until paid is called. If the process is ended at once, say is called,
// on another goroutine.
func (p *program) owe(say func() string) (paid func()) {
	u := &unsaved{say}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unsaved = append(p.unsaved, u)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unsaved = slices.DeleteFunc(p.unsaved, func(o *unsaved) bool { return o == u })
	}
}

// abandon reports the data that is not saved.
func (p *program) abandon() {
	p.mu.Lock()
	owed, slow := slices.Clone(p.unsaved), slices.Clone(p.slow)
	p.mu.Unlock()
	p.notef("tickfeed: interrupted again: ended at once; files that were being written are incomplete")
	for _, u := range owed {
		p.notef("not saved: %s", u.say())
	}
	for _, s := range slow {
		if len(owed) == 0 && s.waits() != "" {
			p.notef("not saved: output that %s has not accepted", s.name)
		}
	}
}

func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "tickfeed COMMAND",
		Short: "A feed of price ticks in which every tick is accounted for",
		Long: `tickfeed distributes price ticks: a publisher numbers, journals and streams them over TCP;
subscribers detect gaps, reconnect, replay what they missed, and account for every tick.

Start with "tickfeed demo".

Every flag can also be set by an environment variable (--max-lag by TICKFEED_MAX_LAG) or in
a YAML file named by --config, with a section for each command:

  log-level: debug
  publish:
    listen: ["localhost:8425", "unix:/run/tickfeed.sock"]
    journal: /var/lib/tickfeed

A flag overrides the environment, and the environment overrides the file, even if they set flags that
exclude each other, such as --json and --csv; only --users cannot be overridden. In the environment and the
file, a setting that needs another flag, as --http-host needs --http, has no effect without it.

Exit codes: 0 done; 1 failure; 2 usage or configuration; 3 the data is wrong; 4 refused
(credentials, version); 130 Ctrl-C. If SIGTERM or SIGHUP stops publish, replay, subscribe, record or
demo, the exit code is 0 if everything was saved. A publish without a terminal, such as a service, reads its files again
at SIGHUP. The first Ctrl-C or signal shuts tickfeed down in
an orderly way; if that takes longer than a second, a message names what it waits for. A second one, at least a
second later, ends the process at once, with a list of what was not saved.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			unused, err := settle(cmd.Context(), cmd, p.configFile, os.Environ())
			if err = errors.Join(err, p.checkLogFlags()); err != nil && !validates(cmd) {
				return err
			}
			p.misread = errors.Join(p.misread, err)
			for _, text := range unused {
				p.note(zerolog.WarnLevel, "warning: %s", text)
			}
			if unknown := strangers(cmd.Root(), os.Environ()); len(unknown) > 0 && cmd.Name() != benchChild {
				p.notef("environment: there is no setting %s; settings are named like the flags", strings.Join(unknown, ", "))
			}
			p.running = true
			return nil
		},
	}
	root.SetIn(p.stdin)
	p.help = &checkedWriter{w: p.stdout}
	root.SetOut(p.help)
	root.SetErr(p.stderr)
	width := cmp.Or(p.screen(p.stdout).width, columns)
	root.SetUsageFunc(func(cmd *cobra.Command) error { return writeUsage(cmd, width) })
	root.CompletionOptions.HiddenDefaultCmd = false
	flags := root.PersistentFlags()
	flags.StringVar(&p.configFile, "config", "", "read settings from the YAML `FILE`")
	flags.StringVar(&p.logLevel, "log-level", "", "log events of at least this `LEVEL`: trace, debug, info, warn, error, off")
	flags.StringVar(&p.logFormat, "log-format", "auto", "log `FORMAT`: console, json, or auto (console on a terminal, otherwise json)")
	flags.StringVar(&p.color, "color", "auto", "colour standard output and standard error: `WHEN` always, never, or auto (if it is a terminal and NO_COLOR is not set)")
	root.AddCommand(p.publishCommand(), p.simCommand(), p.subscribeCommand(), p.recordCommand(), p.demoCommand(), p.importCommand(), p.exportCommand(), p.versionCommand())
	root.AddCommand(p.inspectCommand(), p.cutCommand(), p.mergeCommand())
	root.AddCommand(p.replayCommand(), p.controlCommand(), p.healthCommand(), p.topCommand())
	root.AddCommand(p.benchCommand(), p.benchChildCommand(), p.examCommand(), p.labCommand(), p.ledgerCommand(), p.userCommand())
	root.AddCommand(p.formatsTopic(), p.scenariosTopic(), p.httpTopic())
	refuseEmpty(root)
	root.SetFlagErrorFunc(flagError)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	refuseUnknownTopics(root)
	reflowHelp(root, width)
	fileModeFlag(root, "publish", "sim", "subscribe", "record", "import", "export", "cut", "merge", "replay")
	return root
}

// refuseUnknownTopics makes "tickfeed help NAME" an error if there is no command or topic NAME, and "tickfeed completion
// NAME" if there is no shell NAME.
func refuseUnknownTopics(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			show := c.Run
			c.Run, c.RunE = nil, func(cmd *cobra.Command, args []string) error {
				if err := checkTopic(root, args); err != nil {
					return err
				}
				show(cmd, args)
				return nil
			}
		case "completion":
			c.Use += " SHELL"
			c.Args, c.RunE = cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return usage("completion %s: want %s", args[0], strings.Join(commandNames(cmd.Commands()), ", "))
				}
				return commandMissing(cmd, args)
			}
		}
	}
}

// commandMissing is the RunE of a command that only has commands below it. tickfeed alone shows its help instead.
func commandMissing(cmd *cobra.Command, _ []string) error {
	_, what, _ := strings.Cut(cmd.Use, " ")
	return usage("the %s is missing: %s %s; want %s", strings.ToLower(what), cmd.CommandPath(), what, strings.Join(commandNames(cmd.Commands()), ", "))
}

// checkTopic returns an error, which lists all commands and topics, if args of help name none of them.
func checkTopic(root *cobra.Command, args []string) error {
	found, rest, err := root.Find(args)
	if err == nil && len(rest) == 0 {
		return nil
	}
	if err == nil && found != root {
		return usage("help %s: %q has no page of its own; leave out %s", strings.Join(args, " "), found.CommandPath(), strings.Join(rest, " "))
	}
	var commands, topics []*cobra.Command
	for _, c := range root.Commands() {
		switch {
		case c.Hidden:
			continue
		case isTopic(c):
			topics = append(topics, c)
		default:
			commands = append(commands, c)
		}
	}
	meant := ""
	if near := script.Nearest(args[0], commandNames(append(slices.Clone(commands), topics...))); near != "" {
		meant = " (" + near + "?)"
	}
	return usage("there is no command or topic %q%s; commands: %s; topics: %s", args[0], meant, strings.Join(commandNames(commands), ", "), strings.Join(commandNames(topics), ", "))
}

// isTopic reports whether c is only a help page.
func isTopic(c *cobra.Command) bool { return !c.Runnable() && !c.HasSubCommands() }

func commandNames(commands []*cobra.Command) (names []string) {
	for _, c := range commands {
		names = append(names, c.Name())
	}
	return names
}

// reflowHelp fits the help of cmd and its subcommands to width columns.
func reflowHelp(cmd *cobra.Command, width int) {
	cmd.Long = reflow(cmd.Long, width)
	for _, c := range cmd.Commands() {
		reflowHelp(c, width)
	}
}

// exit reports err and returns its exit code.
func (p *program) exit(cmd *cobra.Command, err error) int {
	var coded *exitError
	var line *textfile.LineError
	var refused *subscriber.RefusedError
	code := exitFailure
	switch {
	case err == nil, errors.Is(err, errOutputClosed):
		return exitDone
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &coded) && coded.err == nil:
		return coded.code
	case errors.As(err, &coded):
		code = coded.code
	case !p.running, errors.Is(err, publisher.ErrDescriptors):
		code = exitUsage
	case errors.As(err, &line):
		code = exitData
	case errors.As(err, &refused) && !refused.Retry, certs.IsMistake(err):
		code = exitRefused
	}
	text := oncePerLine(withoutCall(err))
	if code == exitRefused && refused != nil && !refused.Goodbye && refused.Code == codec.CodeUnauthorized && p.shown != "" {
		text += "; " + p.shown
	}
	if code == exitRefused && refused != nil && refused.Goodbye && (refused.Code == codec.CodeDenied || refused.Code == codec.CodeUnauthorized) {
		text += "; this is for good: start again once the user is permitted again, with the same --state to miss nothing"
	}
	if code == exitUsage {
		text = strings.ReplaceAll(text, "\t", "  ") // cobra puts a tab before a suggestion
		if cmd != nil {
			text += namedSettings(cmd.Flags(), text)
		}
	}
	p.note(zerolog.ErrorLevel, "tickfeed: %s", text)
	if code == exitUsage && cmd != nil {
		p.notef(`Run "%s --help" for usage.`, cmd.CommandPath())
	}
	return code
}

// withoutCall returns the text of err without the system call that looked at a file: "x.tick: no such file or directory" for "stat
// x.tick: no such file or directory".
func withoutCall(err error) string {
	text := err.Error()
	if e := (*fs.PathError)(nil); errors.As(err, &e) && (e.Op == "stat" || e.Op == "lstat") {
		return strings.ReplaceAll(text, e.Op+" "+e.Path+": ", e.Path+": ")
	}
	return text
}

// oncePerLine returns text without repeated lines: several joined errors may have the same cause.
func oncePerLine(text string) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		if line == "" || !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// notef writes lines for people to standard error. args may contain text from peers and files: no control character in it
// reaches the terminal.
//
// With --log-format json each line is an event, so that all of standard error is JSON.
func (p *program) notef(format string, args ...any) { p.note(zerolog.InfoLevel, format, args...) }

func (p *program) note(level zerolog.Level, format string, args ...any) {
	text := printable(fmt.Sprintf(format, args...))
	if p.logFormat != "json" {
		fmt.Fprintln(p.stderr, p.screen(p.stderr).note(text))
		return
	}
	log := zerolog.New(p.stderr).With().Timestamp().Logger()
	for line := range strings.Lines(text) {
		log.WithLevel(level).Msg(strings.TrimSuffix(line, "\n"))
	}
}

// printable escapes the characters in s that are not printable, except newlines: control characters, including C1 and
// those of other alphabets, and bytes that are not UTF-8, which a terminal may take for control characters.
func printable(s string) string {
	if harmless(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r != '\n' && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// harmless reports whether all of s is printable, except newlines.
func harmless(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) < 0
}

// oneLine returns s with newlines escaped, so that a name, or text from a file, cannot look like another line of output.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", `\n`) }

// printableJSON returns the JSON text b with characters that are not printable escaped. Its value is the same.
func printableJSON(b []byte) []byte {
	if harmless(string(b)) {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for _, r := range string(b) {
		switch {
		case unicode.IsPrint(r) || r < ' ': // in JSON, ASCII control characters appear only between values
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

func (p *program) checkLogFlags() error {
	_, err := parseLevel(p.logLevel)
	return errors.Join(
		usageIf(!slices.Contains([]string{"auto", "console", "json"}, p.logFormat), "--log-format must be auto, console or json, got %q", p.logFormat),
		usageIf(!slices.Contains([]string{"auto", "always", "never"}, p.color), "--color must be auto, always or never, got %q", p.color),
		err)
}

func parseLevel(s string) (zerolog.Level, error) {
	switch s {
	case "trace", "debug", "info", "warn", "error":
		return zerolog.ParseLevel(s)
	case "off":
		return zerolog.Disabled, nil
	case "":
		return zerolog.NoLevel, nil
	}
	return 0, usage("--log-level must be trace, debug, info, warn, error or off, got %q", s)
}

// logger returns a logger to standard error; level is the default of --log-level.
func (p *program) logger(level zerolog.Level) zerolog.Logger {
	if l, err := parseLevel(p.logLevel); err == nil && l != zerolog.NoLevel {
		level = l
	}
	out := p.stderr
	if p.consoleLog() {
		out = zerolog.ConsoleWriter{
			Out: fitted{p, p.stderr, logIndent}, TimeFormat: logTime, NoColor: !p.colours(p.stderr),
		}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

// The time at the beginning of a console log event, and the indent of its continuation lines, which aligns them with the
// text.
const (
	logTime   = "15:04:05.000"
	logIndent = "                 "
)

// consoleLog reports whether the log is written for people, not as JSON.
func (p *program) consoleLog() bool {
	return p.logFormat == "console" || p.logFormat == "auto" && isTerminal(p.stderr)
}
