package yamlfile

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each mistake is reported with its own line and with what to do, not with the words of package yaml.
func TestMistakesNameTheirLine(t *testing.T) {
	const good = "- name: a\n  price: 1\n  list: [1,\n    2,\n    3]\n"
	for _, c := range []struct {
		text, want string
	}{
		{"- name: a\n  price: 1: 2\n- name: b\n", "line 2: a colon is where no field can begin"},
		{"- name: a\n- name: b\n  price 271\n", "line 3: want a colon and a blank after the name of a field"},
		{"- name: a\n  price: 1\n   size: 2\n", "line 3: a colon is where no field can begin"},
		{"- name: a\n  price: 1\n size: 2\n", "line 3: want an item that begins with \"- \""},
		{"- name: a\n  price: \"1\n- name: b\n", "line 2: the quote has no end"},
		{"- name: a\n  list: [1, 2\n- name: b\n", "line 2: a list that begins with [ needs commas"},
		{"- name: a\n  list: {a: 1 b: 2}\n", "line 2: fields in { } need commas between them"},
		{"- name: a\n\tprice: 1\n", "line 2: indent with blanks, not with tabs"},
		{"- name: a\n \t price: 1\n", "line 2: indent with blanks, not with tabs"},
		{"- name: a\n  allow: [*]\n", "line 2: a value that begins with * or & needs quotes"},
		{"- name: a\n  allow: [*AAPL]\n", "line 2: a value that begins with * needs quotes"},
		{"- name: a\n  name: @a\n", "line 2: a value that begins with @"},
		{"- name: \"\\q\"\n", "line 1: in double quotes a backslash begins an escape"},
		{"a: 1\nb\nc: 2\n", "line 2: want a colon and a blank"},
		{"- a\nb: 1\n", "line 2: want an item"},
		{"a: 1\n- b\n", "line 2: "},
		{"  - a\n- b\n", "line 2: this line does not belong to the list"},
		{"a: 1\n---\nb: 2\n", "line 2: the file has a second document"},
		{"- a\xff\n", "line 1: the file is not text"},
		{"- list: [0" + strings.Repeat(",\n    1", 20) + "]\n  price: 1: 2\n", "line 22: a colon is where"},
		{strings.Repeat(good, 30) + "- name: b\n  price: 1: 2\n" + strings.Repeat(good, 30), "line 152: a colon is where"},
	} {
		_, err := Parse([]byte(c.text), "price: 271.00")
		require.IsType(t, &Error{}, err, c.text)
		assert.Contains(t, err.Error(), c.want, c.text)
		assert.NotContains(t, err.Error(), "this is not YAML", c.text)
	}
}

func TestParseReadsOneDocument(t *testing.T) {
	root, err := Parse([]byte("# nothing\n"), "price: 271.00")
	require.NoError(t, err)
	assert.Nil(t, root)
	root, err = Parse([]byte("---\n- a\n- b\n"), "price: 271.00")
	require.NoError(t, err)
	assert.Len(t, root.Content, 2)
}
