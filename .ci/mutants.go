//go:build unix

// Command mutants checks that the tests can fail. It reads .ci/mutants.txt, a list of named one-line breaks. For each break it
// compiles the tests of the broken package (go test -overlay: no file of the checkout is written), runs them, and expects a
// test to fail. Run it by .ci/mutants from the top of the repository.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	list      = ".ci/mutants.txt"
	timeLimit = 60 * time.Second // of the tests of one mutant
	killAfter = 5 * time.Second  // beyond timeLimit, for a test binary that does not end by itself
	inCI      = 10               // how many mutants are marked ci
)

// A mutant is one break: in file, the text from becomes to.
type mutant struct {
	name string
	line int // in the list
	file string
	in   string // if not empty, a text of file: from is looked for in the declaration that begins with it
	from string
	to   string

	pkg   string   // whose tests must notice; the package of file unless the list names one
	args  []string // of the test binary
	ci    bool     // it is one of those that .ci/run runs
	speed bool     // it changes only the speed: not run, not counted
	hangs bool     // tests that do not end count as a failure
}

func main() {
	ci := flag.Bool("ci", false, "run the mutants that are marked ci")
	skipBase := flag.Bool("skip-base", false, "do not check first that the tests pass without a break: they just did")
	show := flag.Bool("list", false, "check the list and print the names")
	flag.Parse()
	mutants, err := readList()
	if err != nil {
		fail("%v", err)
	}
	wanted, err := choose(mutants, *ci, flag.Args())
	if err != nil {
		fail("%v", err)
	}
	if *show {
		for _, m := range wanted {
			fmt.Println(m.name, m.file)
		}
		return
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		fail("%v", err)
	}
	begun := time.Now()
	survivors, faulty, err := runAll(dir, wanted, !*ci && !*skipBase)
	os.RemoveAll(dir)
	if err != nil {
		fail("%v", err)
	}
	speed := 0
	for _, m := range mutants {
		if m.speed {
			speed++
		}
	}
	fmt.Printf("%d of %d mutants killed in %v; %d listed change only the speed and do not count\n",
		len(wanted)-len(survivors)-len(faulty), len(wanted), time.Since(begun).Round(time.Second), speed)
	if len(faulty) > 0 {
		fail("these do not compile, or their tests fail without a break: %s", strings.Join(faulty, ", "))
	}
	if len(survivors) > 0 {
		fail("no test notices: %s", strings.Join(survivors, ", "))
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "mutants: "+format+"\n", args...)
	os.Exit(1)
}

// readList parses the list and checks every mutant against the code, so that a stale list fails at once.
func readList() ([]*mutant, error) {
	raw, err := os.ReadFile(list)
	if err != nil {
		return nil, err
	}
	var mutants []*mutant
	seen := map[string]bool{}
	for i, line := range strings.Split(string(raw), "\n") {
		at := func(format string, args ...any) error {
			return fmt.Errorf("%s:%d: "+format, append([]any{list, i + 1}, args...)...)
		}
		var m *mutant
		if len(mutants) > 0 {
			m = mutants[len(mutants)-1]
		}
		switch kind, text, _ := strings.Cut(line, " "); {
		case strings.TrimSpace(line) == "" || kind == "#":
		case strings.HasSuffix(kind, ":"):
			name := strings.TrimSuffix(kind, ":")
			if seen[name] {
				return nil, at("%s stands twice", name)
			}
			seen[name] = true
			m = &mutant{name: name, line: i + 1}
			mutants = append(mutants, m)
			if err := m.options(strings.Fields(text)); err != nil {
				return nil, at("%v", err)
			}
		case m == nil || kind != "@" && kind != "-" && kind != "+":
			return nil, at("want a line NAME: FILE, or one that begins with @, - or +")
		case kind == "@":
			m.in = text
		case kind == "-":
			m.from = text
		case kind == "+":
			m.to = text
		}
	}
	var stale []string
	for _, m := range mutants {
		if _, err := m.source(); err != nil {
			stale = append(stale, fmt.Sprintf("%s:%d: %s: %v", list, m.line, m.name, err))
		}
	}
	if len(stale) > 0 {
		return nil, errors.New("the list is stale:\n" + strings.Join(stale, "\n"))
	}
	if n := len(marked(mutants)); n != inCI {
		return nil, fmt.Errorf("%s: %d mutants are marked ci, want %d", list, n, inCI)
	}
	return mutants, nil
}

func (m *mutant) options(fields []string) error {
	if len(fields) == 0 {
		return errors.New("want NAME: FILE")
	}
	m.file = fields[0]
	m.pkg = "./" + filepath.Dir(m.file)
	for _, o := range fields[1:] {
		switch {
		case o == "ci":
			m.ci = true
		case o == "speed":
			m.speed = true
		case o == "hangs":
			m.hangs = true
		case strings.HasPrefix(o, "./"):
			m.pkg = o
		case strings.HasPrefix(o, "-run="), o == "-short":
			m.args = append(m.args, "-test."+o[1:])
		case strings.HasPrefix(o, "-"):
			m.args = append(m.args, o)
		default:
			return fmt.Errorf("unknown option %q, want ci, speed, hangs, a package ./DIR, or an argument of the tests", o)
		}
	}
	return nil
}

// source returns the file with the break in it.
func (m *mutant) source() ([]byte, error) {
	raw, err := os.ReadFile(m.file)
	if err != nil {
		return nil, err
	}
	text := string(raw)
	from, to := 0, len(text)
	if m.in != "" {
		if n := strings.Count(text, m.in); n != 1 {
			return nil, fmt.Errorf("%s has %d times %q, want it once", m.file, n, m.in)
		}
		from = strings.Index(text, m.in)
		if end := strings.Index(text[from:], "\n}"); end >= 0 { // of the declaration
			to = from + end
		}
	}
	if m.from == "" {
		return nil, errors.New("it has no line that begins with -")
	}
	if n := strings.Count(text[from:to], m.from); n != 1 {
		return nil, fmt.Errorf("%s has %d times %q, want it once", m.file, n, m.from)
	}
	if m.from == m.to {
		return nil, errors.New("it changes nothing")
	}
	return []byte(text[:from] + strings.Replace(text[from:to], m.from, m.to, 1) + text[to:]), nil
}

func marked(mutants []*mutant) []*mutant {
	return slices.DeleteFunc(slices.Clone(mutants), func(m *mutant) bool { return !m.ci })
}

func choose(mutants []*mutant, ci bool, names []string) ([]*mutant, error) {
	if ci {
		return marked(mutants), nil
	}
	var chosen []*mutant
	for _, m := range mutants {
		if len(names) == 0 && !m.speed || slices.Contains(names, m.name) {
			chosen = append(chosen, m)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(chosen, func(m *mutant) bool { return m.name == name }) {
			return nil, fmt.Errorf("%s names no mutant %q", list, name)
		}
	}
	return chosen, nil
}

// runAll returns the names of the mutants that no test noticed, and of those that were not tried because they do not compile or
// their tests fail as they are. If sound is true, it first checks that the same tests pass
// without the break; .ci/run has done that already.
func runAll(dir string, mutants []*mutant, sound bool) (survivors, faulty []string, err error) {
	passed := map[string]bool{}
	for _, m := range mutants {
		tests := strings.Join(append([]string{m.pkg}, m.args...), " ")
		if sound && !passed[tests] {
			v, err := m.run(dir, nil)
			if err != nil {
				return nil, nil, err
			}
			if v.failed || v.late {
				faulty = append(faulty, m.name)
				fmt.Printf("%-28s the tests of %s fail, or take longer than %v, without a break:\n%s", m.name, tests, timeLimit, v.output)
				continue
			}
			passed[tests] = true
		}
		broken, err := m.source()
		if err != nil {
			return nil, nil, err
		}
		v, err := m.run(dir, broken)
		if wrong := (*compileError)(nil); errors.As(err, &wrong) {
			faulty = append(faulty, m.name)
			fmt.Println(err)
			continue
		} else if err != nil {
			return nil, nil, err
		}
		said := "killed by " + v.by
		switch {
		case v.late && m.hangs:
			said = "killed: the tests hang"
		case v.late:
			said = fmt.Sprintf("SURVIVED for %v (%s)", timeLimit, tests)
		case !v.failed:
			said = fmt.Sprintf("SURVIVED (%s)", tests)
		}
		if strings.HasPrefix(said, "SURVIVED") {
			survivors = append(survivors, m.name)
		}
		fmt.Printf("%-28s %5.1fs  %s\n", m.name, v.took.Seconds(), said)
	}
	return survivors, faulty, nil
}

// A compileError reports a mutant that does not compile: what it changes, no test can notice.
type compileError struct {
	m      *mutant
	output []byte
}

func (e *compileError) Error() string {
	return fmt.Sprintf("%s:%d: %s does not compile:\n%s", list, e.m.line, e.m.name, e.output)
}

type verdict struct {
	failed bool
	late   bool   // the tests did not end in time
	by     string // the first test that failed
	took   time.Duration
	output string
}

var failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^(panic: .*|fatal error: .*|.*goleak: .*)$`)

// run runs the tests of m with its file replaced by broken, or as it is if that is nil.
func (m *mutant) run(dir string, broken []byte) (v verdict, err error) {
	binary, overlay := filepath.Join(dir, "broken.test"), filepath.Join(dir, "overlay.json")
	if broken == nil { // this binary serves every mutant of the package
		binary = filepath.Join(dir, strings.ReplaceAll(filepath.Clean(m.pkg), "/", "-")+".test")
	}
	args := []string{"test", "-c", "-vet=off", "-o", binary}
	if broken != nil {
		file, err := filepath.Abs(m.file)
		if err != nil {
			return v, err
		}
		replaced := filepath.Join(dir, "broken.go")
		raw, err := json.Marshal(map[string]map[string]string{"Replace": {file: replaced}})
		if err != nil {
			return v, err
		}
		if err := errors.Join(os.WriteFile(replaced, broken, 0o600), os.WriteFile(overlay, raw, 0o600)); err != nil {
			return v, err
		}
		args = append(args, "-overlay", overlay)
	}
	if _, err := os.Stat(binary); err != nil || broken != nil {
		if out, err := exec.Command("go", append(args, m.pkg)...).CombinedOutput(); err != nil {
			return v, &compileError{m, out}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit+killAfter)
	defer cancel()
	tests := exec.CommandContext(ctx, binary, append([]string{"-test.failfast", "-test.timeout=" + timeLimit.String()}, m.args...)...)
	tests.Dir = m.pkg
	tests.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that what the tests started ends with them
	tests.Cancel = func() error { return syscall.Kill(-tests.Process.Pid, syscall.SIGKILL) }
	tests.WaitDelay = killAfter
	var out bytes.Buffer
	tests.Stdout, tests.Stderr = &out, &out
	began := time.Now()
	err = tests.Run()
	v.took, v.output = time.Since(began), out.String()
	v.late = ctx.Err() != nil || strings.Contains(v.output, "panic: test timed out after")
	if err != nil && !errors.As(err, new(*exec.ExitError)) && ctx.Err() == nil {
		return v, err
	}
	v.failed = err != nil
	if found := failedTest.FindString(v.output); found != "" {
		v.by = strings.TrimPrefix(strings.TrimSpace(found), "--- FAIL: ")
	}
	return v, nil
}
