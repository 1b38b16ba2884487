package syncdir_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/codec/syncdir"
)

// The directory itself is synced and closed, and an error of either is reported.
func TestSyncReportsEitherError(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a directory cannot be synced there")
	}
	dir, failed := t.TempDir(), errors.New("failed")
	assert.NoError(t, syncdir.Sync(dir, (*os.File).Sync))
	var synced *os.File
	assert.ErrorIs(t, syncdir.Sync(dir, func(d *os.File) error {
		synced = d
		return failed
	}), failed)
	assert.Equal(t, dir, synced.Name())
	assert.ErrorIs(t, synced.Close(), os.ErrClosed)
	assert.ErrorIs(t, syncdir.Sync(filepath.Join(dir, "nowhere"), (*os.File).Sync), os.ErrNotExist)
}
