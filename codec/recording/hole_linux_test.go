package recording_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording"
)

// countedFile is a file of which 16 MiB can be read.
type countedFile struct {
	*os.File
	read int64
}

func (f *countedFile) ReadAt(b []byte, at int64) (int, error) {
	if f.read += int64(len(b)); f.read > 16<<20 {
		return 0, errors.New("too much is read")
	}
	return f.File.ReadAt(b, at)
}

// A hole in a file is not read, whether it is at the end or has packets behind it.
func TestHolesAreNotRead(t *testing.T) {
	const hole = 64 << 30
	whole, err := os.ReadFile("../../testdata/v1/journal/00000000000000000010-000000000000001a.tick")
	require.NoError(t, err)
	for _, test := range []struct {
		name string
		tail []byte // after the hole
		want recording.Kind
	}{{"torn", nil, recording.KindTorn}, {"damage", whole, recording.KindDamage}} {
		t.Run(test.name, func(t *testing.T) {
			file, err := os.Create(filepath.Join(t.TempDir(), "x.tick"))
			require.NoError(t, err)
			defer file.Close()
			_, err = file.Write(whole[:len(whole)-200]) // without its end
			require.NoError(t, err)
			if err := file.Truncate(hole); err != nil {
				t.Skip("no sparse files:", err)
			}
			_, err = file.WriteAt(test.tail, hole)
			require.NoError(t, err)
			f := &countedFile{File: file}
			in, err := recording.NewInput(f, hole+int64(len(test.tail)))
			require.NoError(t, err)
			defer in.Close()
			r, err := in.Reader()
			require.NoError(t, err)
			var kinds []recording.Kind
			for {
				item, err := r.Next()
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
				kinds = append(kinds, item.Kind)
			}
			assert.Contains(t, kinds, test.want)
		})
	}
}
