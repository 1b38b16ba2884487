package ops

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns s, which may come from a peer or a file, with the characters that are not printable escaped, so that it can be
// shown on a terminal.
func Clean(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[i])+0x100, 16)[1:])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// maxName bounds a name that a peer chose, in characters.
const maxName = 200

// nameOf returns Clean(s), or its first maxName characters.
func nameOf(s string) string {
	s = Clean(s)
	n := 0
	for i := range s {
		if n++; n > maxName {
			return s[:i] + "…"
		}
	}
	return s
}
