package textfile_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed/files/textfile"
)

// Defuse finds each text that a spreadsheet would take for a formula, and each that would be read back as another text.
func TestDefuseFindsFormulas(t *testing.T) {
	for _, text := range []string{"=1+2", "+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@A", "-"} {
		assert.True(t, textfile.Defuse(text), "%q", text)
	}
	for _, text := range []string{"", "AAPL", "A=1", "'", "''", "'quoted", " =1", "12"} {
		assert.False(t, textfile.Defuse(text), "%q", text)
	}
}

// A reader removes the apostrophe only from defused text cells of files that tickfeed wrote.
func TestOwnFiles(t *testing.T) {
	const (
		own   = "session,seq,snapshot,type,symbol,venue,ts_event,ts_publish,price,size,trade_id,conditions\n"
		other = "session,seq,snapshot,kind,symbol,venue,ts_event,ts_publish,price,size,trade_id,conditions\n"
		row   = "00000000deadbeef,1,,trade,%,'-V,1772461800000000000,1772461800000000000,2,3,'@7,'=A\n"
	)
	rows := func(header, symbol string) string {
		return header + strings.ReplaceAll(row, "%", symbol)
	}
	for symbol, want := range map[string]string{
		"'=A": "=A", "''=A": "'=A", "''''+A": "'''+A", "'quoted": "'quoted", "A'=": "A'=", "''": "''", "'": "'",
	} {
		got, _, err := read(t, rows(own, symbol), textfile.Config{})
		require.NoError(t, err, symbol)
		assert.Equal(t, []string{`0 trade ` + want + `@-V 2 x 3 id 0@7 "=A"`}, got[len(got)-1:], symbol)
	}
	got, _, err := read(t, rows(other, "'=A"), textfile.Config{})
	require.NoError(t, err)
	assert.Equal(t, []string{`0 trade '=A@'-V 2 x 3 id 0'@7 "'=A"`}, got[len(got)-1:])
	_, _, err = read(t, strings.Replace(rows(own, "A"), ",2,3,", ",'-2,3,", 1), textfile.Config{})
	assert.ErrorContains(t, err, `"'-2"`)
}
