package child_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tickfeed/cmd/child"
)

// role names the variable that makes this binary a child of a test.
const role = "CHILD_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "heeding": // ends with its standard input
		fmt.Println("ready")
		_, _ = io.Copy(os.Stdout, os.Stdin)
		os.Exit(7)
	case "deaf":
		fmt.Println("ready")
		select {}
	case "parent": // of a deaf child, which holds its standard output
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stdout = append(os.Environ(), role+"=deaf"), os.Stdout
		fmt.Println(cmd.Start())
		select {}
	}
	goleak.VerifyTestMain(m)
}

// start starts this binary in a role and waits for its first line, which is "ready" unless the role prints another. The lines
// after it are sent when the child has ended.
func start(t *testing.T, of string, o child.Options) (p *child.Process, rest <-chan string) {
	t.Helper()
	first, more := make(chan string, 1), make(chan string, 1)
	o.Stdout = func(r io.Reader) {
		lines := bufio.NewReader(r)
		line, _ := lines.ReadString('\n')
		first <- line
		all, _ := io.ReadAll(lines)
		more <- string(all)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+of)
	p, err := child.Start(cmd, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() })
	require.NotEmpty(t, <-first)
	return p, more
}

// Stop closes the standard input of a child, and Done comes after all that it printed.
func TestStopEndsAChildByItsStandardInput(t *testing.T) {
	p, rest := start(t, "heeding", child.Options{Stdin: true})
	_, err := io.WriteString(p.Stdin, "last words\n")
	require.NoError(t, err)
	require.NoError(t, p.Stop(time.Minute))
	<-p.Done()
	assert.Equal(t, "last words\n", <-rest)
	var exit *exec.ExitError
	require.ErrorAs(t, p.Err(), &exit)
	assert.Equal(t, 7, exit.ExitCode())
	assert.NoError(t, p.Kill(), "it has ended")
}

// Stop kills a child that does not end in time, and says so.
func TestStopKillsAChildThatDoesNotEnd(t *testing.T) {
	p, _ := start(t, "deaf", child.Options{Stdin: true})
	assert.ErrorContains(t, p.Stop(time.Millisecond), "has not ended within 1ms")
	<-p.Done()
	assert.Error(t, p.Err())
}

// A signal to a group reaches what the child has started: otherwise its output would stay open.
func TestKillReachesTheWholeGroup(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no process groups")
	}
	p, rest := start(t, "parent", child.Options{Group: true})
	require.NoError(t, p.Kill())
	<-rest
}

// Without Options.Stdin, Stop asks a child to end by a signal.
func TestStopTerminatesAChildWithoutStandardInput(t *testing.T) {
	p, _ := start(t, "deaf", child.Options{Group: true})
	require.NoError(t, p.Stop(time.Minute))
	assert.ErrorContains(t, p.Err(), map[bool]string{true: "exit status", false: "terminated"}[runtime.GOOS == "windows"])
}

func TestEnvironLeavesOutTickfeedsVariables(t *testing.T) {
	t.Setenv("TICKFEED_RATE", "7")
	t.Setenv("CHILD_OTHER", "8")
	all := strings.Join(child.Environ(), "\n")
	assert.NotContains(t, all, "TICKFEED_")
	assert.Contains(t, all, "CHILD_OTHER=8")
}

func TestTailKeepsTheEnd(t *testing.T) {
	var tail child.Tail
	fmt.Fprint(&tail, "a")
	fmt.Fprintf(&tail, " %s ", strings.Repeat("b", child.TailSize-2))
	assert.Equal(t, strings.Repeat("b", child.TailSize-2), tail.String())
}
