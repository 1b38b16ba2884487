package files

import (
	"encoding/binary"
	"io"
	"os"
	"regexp"
)

// leanNames are those of the files in LEAN's zips; leanQuotes are those that package leanfx reads.
var (
	leanNames  = regexp.MustCompile(`^[0-9]{8}_[^_]+_(tick|second|minute|hour|daily)_(trade|quote|openinterest)(_[^/]*)?\.csv$`)
	leanQuotes = regexp.MustCompile(`^[0-9]{8}_[^_]+_tick_quote\.csv$`)
)

// leanEntry is the name of the first file in the zip at path, if it is one of LEAN that cannot be
// read: of shares, futures, options, or bars.
func leanEntry(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var head [30]byte // of the first file: zip, "local file header"
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:4]) != "PK\x03\x04" {
		return ""
	}
	name := make([]byte, binary.LittleEndian.Uint16(head[26:]))
	if _, err := io.ReadFull(f, name); err != nil || !leanNames.Match(name) || leanQuotes.Match(name) {
		return ""
	}
	return string(name)
}
