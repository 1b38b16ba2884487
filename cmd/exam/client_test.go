package exam

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The exam ends a program that prints too much, and reports that. A program that exits has ended, even if it leaves a child behind.
func TestProgramsThatMisbehave(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the programs are shell scripts")
	}
	for _, test := range []struct{ name, id, script, fault, unlike string }{
		{"prints for ever", "good-plain", `trap '' PIPE; yes '{"seq":1}'; sleep 60`, "; the exam has ended the client, which printed more than 16 MiB, with 64 bytes for the end of each line", "by itself"},
		{"prints for ever while time passes", "session-end", `trap '' PIPE; yes '{"event":"saved"}'; sleep 60`, "the exam has ended the client, which printed more than 16 MiB", "by itself"},
		{"prints a line for ever", "good-plain", `yes | tr -d '\n'; sleep 60`, "the exam has ended the client, which printed a line of more than 1 MiB", "by itself"},
		{"ends and leaves a child", "good-plain", "sleep 60 & exit 0", "the client has ended by itself: exit status 0, and what it has started still holds its output open", "limit"},
		{"ends and leaves a child that says more", "good-plain", `{ sleep 0.05; echo '{"seq":1}'; } & exit 0`, `the field "event" is missing`, "limit"},
		{"ends at once as a publisher", "welcome-fields", "exit 0", "by itself before it accepted a connection on 127.0.0.1:", "nil"},
		{"prints much as a publisher", "welcome-fields", "yes | head -c 20000000; exit 7", ": exit status 7", "16 MiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			x := Exam{Program: &Command{Args: []string{"sh", "-c", test.script, "{addr}{listen}"}, linger: 200 * time.Millisecond}, Limit: 20 * time.Second, Dir: t.TempDir()}
			cases, err := Select(slices.Concat(Cases(), PublisherCases()), []string{test.id})
			require.NoError(t, err)
			v := x.Run(t.Context(), cases[0])
			require.NotNil(t, v.Fault)
			assert.Contains(t, v.Fault.Text, test.fault)
			assert.NotContains(t, v.Fault.Text, test.unlike)
			assert.Less(t, v.Took, x.Limit)
			size := 0
			for _, line := range v.Lines {
				size += len(line) + lineCost
			}
			assert.LessOrEqual(t, size, maxOutput+driveTicks*maxPerTick)
		})
	}
}

// A lineWriter splits what it is given in any parts into the same lines.
func TestLineWriter(t *testing.T) {
	text := []byte("one\n\ntwo\r\n" + strings.Repeat("x", 3000) + "\nlast")
	for _, size := range []int{1, 2, 7, len(text)} {
		w := &lineWriter{out: NewOutput(), most: maxOutput, room: maxOutput}
		for part := range slices.Chunk(text, size) {
			n, err := w.Write(part)
			require.NoError(t, err)
			require.Equal(t, len(part), n)
		}
		w.end()
		lines, _ := w.out.Lines()
		assert.Equal(t, []string{"one", "", "two", strings.Repeat("x", 3000), "last"}, lines)
	}
	over := 0
	w := &lineWriter{out: NewOutput(), most: 200, room: 200, excess: func() { over++ }}
	_, err := w.Write([]byte("a\nb\nc\nd\n"))
	assert.True(t, errors.As(err, new(*excessError)), err)
	lines, _ := w.out.Lines()
	assert.Equal(t, []string{"a", "b", "c"}, lines)
	assert.Equal(t, 1, over)
}

// Names in braces that are no placeholders are refused; braces of shells and programs are left alone.
func TestUnknownPlaceholdersAreRefused(t *testing.T) {
	for arg, want := range map[string]string{
		"{addr}": "", "--from={from},{state-file}": "", "${HOME}/{addr}": "", "{}": "", `{"a":1}`: "", "{ print }": "", "a{1,2}": "",
		"{state_file}": "{state_file}", "--x={bogus}": "{bogus}", "{addr} {Addr}": "{Addr}", "{listen}": "{listen}",
	} {
		err := Unknown([]string{"client", arg}, Placeholders)
		if want == "" {
			assert.NoError(t, err, arg)
			continue
		}
		assert.ErrorContains(t, err, "there is no placeholder "+want+", only {addr}, {filter},", arg)
	}
}
