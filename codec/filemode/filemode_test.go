package filemode_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/filemode"
)

// Only the owner may access files unless another mode is set; users who may read a file may enter its
// directory.
func TestModesAreForTheOwnerOnly(t *testing.T) {
	assert.Equal(t, fs.FileMode(0o600), filemode.File())
	assert.Equal(t, fs.FileMode(0o700), filemode.Dir())
	t.Cleanup(func() { require.NoError(t, filemode.Set(filemode.Default)) })
	for file, dir := range map[fs.FileMode]fs.FileMode{0o600: 0o700, 0o640: 0o750, 0o644: 0o755, 0o660: 0o770, 0o666: 0o777} {
		require.NoError(t, filemode.Set(file))
		assert.Equal(t, file, filemode.File())
		assert.Equal(t, dir, filemode.Dir(), "%04o", file)
	}
	for _, wrong := range []fs.FileMode{0, 0o400, 0o200, 0o066, 0o1600, 0o600 | fs.ModeDir} {
		assert.ErrorContains(t, filemode.Set(wrong), "owner")
	}
}

// A mode is written in octal, as for chmod.
func TestParseReadsOctal(t *testing.T) {
	for _, s := range []string{"640", "0640"} {
		m, err := filemode.Parse(s)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o640), m)
	}
	for _, s := range []string{"", "rw", "0o640", "690", "-1", "99999999999999"} {
		_, err := filemode.Parse(s)
		assert.ErrorContains(t, err, "octal", s)
	}
}
