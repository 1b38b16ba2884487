package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An exam that is killed takes its client with it: the kernel kills the client.
func TestKilledExamLeavesNoClient(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "pid")
	exam := exec.Command("tickfeed", "exam", "--case", "good-plain", "--", "sh", "-c", `echo $$ > "$0"; exec sleep 600`, file, "{addr}", "{from}")
	exam.Path, exam.Err = exe, nil
	var said bytes.Buffer
	exam.Stderr = &said
	require.NoError(t, exam.Start())
	var pid int
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	}, time.Minute, 5*time.Millisecond, "the client has started: %s", &said)
	require.True(t, running(pid))
	require.NoError(t, exam.Process.Kill())
	_ = exam.Wait()
	require.Eventually(t, func() bool { return !running(pid) }, time.Minute, 5*time.Millisecond, "the client has ended")
}

// running reports whether a process runs; one that only waits for its parent does not.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(b, []byte(") ")) // the name
	return len(after) > 0 && after[0] != 'Z'
}

// After Ctrl-C the cases that were judged are written.
func TestInterruptedExamWritesItsResult(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startCommand(t, dir, "exam", "--json", "--parallel", "1", "--junit", "exam.xml", "--case", "good-plain,bad-gap", "--", "sh", "-c", `test "$2" = "$(cat first 2>/dev/null || echo "$2" | tee first)" || exec sleep 60`, "sh", "{addr}", "{token}", "{from}")
	require.Eventually(t, func() bool { return strings.Contains(c.out.String(), "\n") }, patience, 5*time.Millisecond)
	require.NoError(t, c.Process.Signal(os.Interrupt))
	require.Equal(t, exitInterrupted, c.exit(t), &c.err)
	b, err := os.ReadFile(filepath.Join(dir, "exam.xml"))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(b), "<testcase "), "%s", b)
}
