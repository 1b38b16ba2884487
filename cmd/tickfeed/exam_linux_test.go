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
