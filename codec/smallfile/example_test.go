package smallfile_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"tickfeed/codec/smallfile"
)

// A file is read, and what cannot be read again is refused.
func ExampleRead() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "users.yaml")
	if err := os.WriteFile(path, []byte("users: []"), 0o600); err != nil {
		log.Fatal(err)
	}
	text, err := smallfile.Read(path, "when it changes")
	fmt.Println(string(text), err)

	_, err = smallfile.Read(dir, "when it changes")
	fmt.Println(strings.Replace(err.Error(), dir, "DIR", 1))
	// Output:
	// users: [] <nil>
	// DIR is a directory; want a file
}
