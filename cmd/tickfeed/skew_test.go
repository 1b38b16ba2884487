package main

import (
	"encoding/binary"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// These tests are about an older and a newer tickfeed that meet, over a connection or through a file. TestV1FilesAreReadForEver is about the files
// of older ones, and PROTOCOL.md, "Versions", about what may grow within a version.

// later is a version of the format that this program does not know.
const later = codec.Version + 1

// laterFile returns a recording of a later version, whose header has grown.
func laterFile(t *testing.T) []byte {
	t.Helper()
	b, err := codec.Append(nil, &codec.FileHeader{Version: later, Lineage: feed.Lineage{{ID: 0x3c, First: 99}}, Next: 99})
	require.NoError(t, err)
	b[0] += 2 // what is new, and the checksum
	b = append(b, 0xa3, 'n', 'e', 'w')
	return binary.BigEndian.AppendUint32(append(b, 0xce), crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// A publisher refuses a journal of a newer tickfeed with the name of the file and what to do, and leaves it as it is.
func TestJournalOfALaterVersion(t *testing.T) {
	dir := t.TempDir()
	j := filepath.Join(dir, "j")
	require.NoError(t, os.CopyFS(j, os.DirFS(filepath.Join(v1, "journal"))))
	require.NoError(t, os.WriteFile(filepath.Join(j, "00000000000000000099-000000000000003c.tick"), laterFile(t), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(j, "LOCK"), nil, 0o600))
	before := treeOf(t, j)
	for _, args := range [][]string{{"publish", "--journal", "j", "--listen", "unix:feed"}, {"publish", "--journal", "j", "--check"}} {
		c := startCommand(t, dir, args...)
		assert.Equal(t, exitUsage, c.exit(t), "%v: %s", args, c.err.String())
		assert.Contains(t, c.err.String(), "00000000000000000099-000000000000003c.tick: recording of version 2, written by a newer tickfeed: this one reads version 1, so use the newer one")
		assert.Equal(t, before, treeOf(t, j), "%v", args)
	}
}

// Every command that reads recordings refuses one of a newer tickfeed by name, and writes nothing.
func TestRecordingOfALaterVersion(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "later.tick"), laterFile(t), 0o600))
	before := treeOf(t, dir)
	for _, args := range [][]string{
		{"inspect", "later.tick"}, {"replay", "later.tick", "--listen", "unix:feed", "--http", ""}, {"export", "later.tick", "-o", "out.csv"}, {"cut", "later.tick", "-o", "out.tick"},
		{"merge", "later.tick", "../" + filepath.Base(dir) + "/later.tick", "-o", "out.tick"}, {"publish", "later.tick", "--listen", "unix:feed"},
	} {
		c := startCommand(t, dir, args...)
		assert.Contains(t, []int{exitFailure, exitUsage, exitData}, c.exit(t), "%v", args)
		assert.Contains(t, c.err.String()+c.out.String(), "recording of version 2, written by a newer tickfeed", "%v", args)
		assert.Equal(t, before, treeOf(t, dir), "%v", args)
	}
}

// A newer client is served in the version that both speak, however its hello has grown, and is refused by name if there is none.
func TestClientOfALaterVersion(t *testing.T) {
	dir := t.TempDir()
	pub := startCommand(t, dir, "publish", "--rate", "1k", "--instruments", "3", "--listen", "unix:feed")
	pub.says(t, "listening")
	meet := func(least, most uint64) codec.Message {
		nc, err := net.Dial("unix", filepath.Join(dir, "feed"))
		require.NoError(t, err)
		defer nc.Close()
		require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
		hello, err := codec.Append(nil, &codec.Hello{MinVersion: least, MaxVersion: most, Client: "later", Features: []string{"new", codec.FeatureAck}})
		require.NoError(t, err)
		require.Equal(t, byte(0xdc), hello[0], "an array header of three bytes")
		hello[2]++
		hello = append(hello, 0x81, 0xa3, 'n', 'e', 'w', 0xc3) // an element that only the newer one knows
		_, err = nc.Write(hello)
		require.NoError(t, err)
		r := codec.NewReader(nc, codec.MaxMessage)
		_, raw, err := r.Next()
		require.NoError(t, err)
		m, err := codec.Decode(raw)
		require.NoError(t, err)
		return m
	}
	m := meet(codec.Version, later+7)
	require.IsType(t, &codec.Welcome{}, m, "%+v", m)
	assert.EqualValues(t, codec.Version, m.(*codec.Welcome).Version)
	assert.Equal(t, &codec.Refusal{Code: codec.CodeVersion, Text: "this publisher speaks version 1, the client 2 to 9"}, meet(later, later+7))
}

// A client that meets a publisher of later versions only says so and ends: to try again would not help.
func TestPublisherOfALaterVersion(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, "feed"))
	require.NoError(t, err)
	defer ln.Close()
	refusal, err := codec.Append(nil, &codec.Refusal{Code: codec.CodeVersion, Text: "this publisher speaks versions 2 to 3, the client 1"})
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_, _, _ = codec.NewReader(nc, codec.MaxMessage).Next() // the hello
			_, _ = nc.Write(refusal)
			_ = nc.Close()
		}
	}()
	for _, args := range [][]string{{"subscribe", "unix:feed", "--quiet"}, {"record", "unix:feed", "-o", "out.tick"}} {
		c := startCommand(t, dir, args...)
		assert.Equal(t, exitRefused, c.exit(t), "%v: %s", args, c.err.String())
		assert.Contains(t, c.err.String(), "unix:feed refused: version: this publisher speaks versions 2 to 3, the client 1")
	}
	require.NoError(t, ln.Close())
	<-served
}
