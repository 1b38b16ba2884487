package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Built with the race detector, each of the hundreds of processes that the tests start would sleep for a second at its end.
	if _, set := os.LookupEnv("GORACE"); !set {
		_ = os.Setenv("GORACE", "atexit_sleep_ms=10")
	}
	if err := flag.Set("test.parallel", "4"); err != nil { // they wait more than they compute; -parallel on the command line overrides it
		panic(err)
	}
	testscript.Main(leakChecked{m}, map[string]func(){"tickfeed": main})
}

// leakChecked fails if something is left running after the tests (PROMISES.md, 29).
type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Commands behave as the scripts in testdata/script say, each a process of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for _, kv := range os.Environ() {
				if strings.HasPrefix(kv, "GOCOVERDIR=") || strings.HasPrefix(kv, "GORACE=") {
					e.Vars = append(e.Vars, kv)
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":      await,
			"exitcode":   exitcode,
			"packets":    packets,
			"startswith": startswith,
			"sequence":   sequence,
		},
	})
}

// await FILE: waits until the file is there and is a socket or not empty.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && (info.Size() > 0 || info.Mode()&os.ModeSocket != 0) {
			return
		}
	}
	ts.Fatalf("%s did not appear", args[0])
}

// exitcode CODE ARGS...: runs tickfeed with ARGS and checks its exit code.
func exitcode(ts *testscript.TestScript, _ bool, args []string) {
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec("tickfeed", args[1:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// sequence FILE: from 1 on, each line has the next number, with no hole and none twice.
func sequence(ts *testscript.TestScript, _ bool, args []string) {
	next := uint64(1)
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var tick struct {
			Seq      uint64 `json:"seq"`
			Snapshot bool   `json:"snapshot"`
		}
		ts.Check(json.Unmarshal([]byte(line), &tick))
		if tick.Snapshot {
			continue
		}
		if tick.Seq != next {
			ts.Fatalf("%s: number %d where %d is due", args[0], tick.Seq, next)
		}
		next++
	}
	if next == 1 {
		ts.Fatalf("%s holds no tick", args[0])
	}
}

func TestPrintableEscapesControlCharacters(t *testing.T) {
	assert.Equal(t, "héllo\nyou", printable("héllo\nyou"))
	assert.Equal(t, `a\u001b[31mb\u0007`, printable("a\x1b[31mb\a"))
	assert.Equal(t, `a\x9b31mb\u009b31mc`, printable("a\x9b31mb\u009b31mc"), "C1, as bytes and as UTF-8")
	assert.Equal(t, "a\uFFFDb", printable("a\uFFFDb"))
	assert.Equal(t, `x\u202ey\u007f`, printable("x\u202ey\x7f"))
}

// In JSON nothing controls a terminal, and it says the same.
func TestPrintableJSON(t *testing.T) {
	for _, name := range []string{"plain", "a\x1b[31m", "C1 \u009b31m", "del \x7f", "bidi \u202e", "tag \U000e0041", "line\nfeed", "\x9b no UTF-8"} {
		b, err := json.Marshal(map[string]string{"file": name})
		require.NoError(t, err)
		var want, got map[string]string
		require.NoError(t, json.Unmarshal(b, &want))
		text := printableJSON(b)
		require.NoError(t, json.Unmarshal(text, &got), "%s", text)
		assert.Equal(t, want, got)
		for _, r := range string(text) {
			assert.True(t, unicode.IsPrint(r), "%s", text)
		}
	}
}
