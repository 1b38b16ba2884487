package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// impatient is a context that ends after its error has been asked for n times.
type impatient struct {
	context.Context
	n int
}

func (i *impatient) Err() error {
	if i.n--; i.n < 0 {
		return context.Canceled
	}
	return nil
}

// Ctrl-C ends the recording at the tick reached: sim says where, and the file is whole.
func TestSimInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "day.tick")
	var stderr bytes.Buffer
	p := &program{stdout: os.Stdout, stderr: &stderr}
	cmd := p.simCommand()
	cmd.SetArgs([]string{"-o", path, "--instruments", "5"})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(&impatient{t.Context(), 3})
	require.ErrorIs(t, err, errInterrupted)
	assert.Contains(t, stderr.String(), "interrupted when the market was at 2026-01-05 14:30:")
	assert.Contains(t, stderr.String(), "3,000 ticks")
	assert.NoError(t, verifyRecording(path))
}
