//go:build unix

package filemode_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/filemode"
)

// A file with a secret that its group or everyone can read is warned about, with its name, its mode and what to do.
func TestExposedSecretsAreWarnedAbout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for mode, want := range map[fs.FileMode]string{
		0o600: "", 0o400: "", 0o700: "", 0o622: "",
		0o640: " has mode 0640, so that its group can read it: chmod 600 " + path,
		0o644: " has mode 0644, so that every user of this machine can read it: chmod 600 " + path,
		0o604: " has mode 0604, so that every user of this machine can read it: chmod 600 " + path,
	} {
		require.NoError(t, os.Chmod(path, mode))
		if err := filemode.Exposed(path); want == "" {
			assert.NoError(t, err, "%04o", mode)
		} else {
			assert.EqualError(t, err, path+want)
		}
	}
	assert.NoError(t, filemode.Exposed(path+".none"))
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o644))
	assert.NoError(t, filemode.Exposed(pipe))
}
