package syncdir_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"tickfeed/codec/syncdir"
)

// A file is replaced so that after a power cut it has either its old contents or its new ones.
func ExampleSync() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	f, err := os.CreateTemp(dir, "position")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("4711"); err != nil {
		log.Fatal(err)
	}
	if err := f.Sync(); err != nil { // the contents
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "position")
	if err := os.Rename(f.Name(), path); err != nil {
		log.Fatal(err)
	}
	if err := syncdir.Sync(dir, (*os.File).Sync); err != nil { // the name
		log.Fatal(err)
	}
	b, err := os.ReadFile(path)
	fmt.Println(string(b), err)
	// Output:
	// 4711 <nil>
}
