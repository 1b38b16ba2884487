package files

import (
	"encoding/binary"
	"io"
	"os"
	"regexp"
)

// leanNames matches the names of files in LEAN's zips, leanQuotes the names of those that package leanfx reads.
var (
	leanNames  = regexp.MustCompile(`^[0-9]{8}_[^_]+_(tick|second|minute|hour|daily)_(trade|quote|openinterest)(_[^/]*)?\.csv$`)
	leanQuotes = regexp.MustCompile(`^[0-9]{8}_[^_]+_tick_quote\.csv$`)
)

// leanEntry returns the name of the first file in the zip at path if it is a LEAN file that cannot be
// read, with shares, futures, options or bars; otherwise it returns "".
func leanEntry(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var head [30]byte // the zip's "local file header" of the first file
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:4]) != "PK\x03\x04" {
		return ""
	}
	name := make([]byte, binary.LittleEndian.Uint16(head[26:]))
	if _, err := io.ReadFull(f, name); err != nil || !leanNames.Match(name) || leanQuotes.Match(name) {
		return ""
	}
	return string(name)
}
