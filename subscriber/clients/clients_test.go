package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
)

// flags are the arguments of both commands, with the placeholders of tickfeed exam.
var flags = []string{
	"{addr}", "--symbols", "{filter}", "--from", "{from}", "--slow", "{slow}", "--state", "{state-file}",
	"--raw", "--final-state", "--ledger",
}

// Each client passes every case of the exam, with none left out.
func TestClientsPassTheExam(t *testing.T) {
	dir := t.TempDir()
	build := sync.OnceValue(func() string {
		exam := filepath.Join(dir, "tickfeed")
		out, err := exec.Command("go", "build", "-o", exam, "tickfeed/cmd/tickfeed").CombinedOutput()
		require.NoError(t, err, "%s", out)
		return exam
	})
	t.Run("Python", func(t *testing.T) {
		for _, name := range []string{"/usr/bin/python3", "python3"} {
			if exec.Command(name, "-c", "import msgpack").Run() == nil {
				examine(t, build(), name, "python/subscribe.py")
				return
			}
		}
		t.Skip("no python3 with msgpack here: install python3-msgpack (Debian), or msgpack with pip")
	})
	t.Run("JavaScript", func(t *testing.T) {
		find := exec.Command("node", "--input-type=module", "--eval", `await import("@msgpack/msgpack")`)
		find.Dir = "javascript"
		if err := find.Run(); err != nil {
			t.Skip("no node with @msgpack/msgpack here: run npm install --no-package-lock in subscriber/clients/javascript")
		}
		examine(t, build(), "node", "javascript/subscribe.js")
	})
}

// examine runs exam, the program tickfeed, for the client that command starts.
func examine(t *testing.T, exam string, command ...string) {
	cases := effort.Of(t, "good-*,account-*,recover-*,session-*", "good-plain,good-snapshot,account-denied,account-re*,recover-fin,recover-dropped-tick,session-restored")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	args := append([]string{"exam", "--json", "--case", cases, "--"}, command...)
	cmd := exec.CommandContext(ctx, exam, append(args, flags...)...)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.Env = &stderr, append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.Output()
	if exit := new(exec.ExitError); !errors.As(err, &exit) {
		require.NoError(t, err, "%s", &stderr)
	}
	for line := range bytes.Lines(out) {
		var verdict struct {
			Case, Outcome, Said string
			Fault               struct{ Text, Want, Got string }
			Scores              []struct{ Passed, Failed int }
		}
		require.NoError(t, json.Unmarshal(line, &verdict), "%s", line)
		if verdict.Case != "" {
			f := verdict.Fault
			assert.Equal(t, "passed", verdict.Outcome, "%s: %s\nwant %s\ngot  %s\n%s", verdict.Case, f.Text, f.Want, f.Got, verdict.Said)
		}
	}
	assert.NoError(t, err, "%s", &stderr)
	assert.Contains(t, string(out), `{"scores":`)
}
