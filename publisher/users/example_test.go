package users_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"tickfeed/codec"
	"tickfeed/publisher"
	"tickfeed/publisher/users"
)

// A user is added to a file, which a publisher then asks about each login.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "users.yml")
	token, err := users.Add(path, users.Entry{Name: "desk", Allow: []string{"ES*", "NQ*"}, Depth: "l1"})
	if err != nil {
		log.Fatal(err)
	}
	file, err := users.Open(path, func(err error) { fmt.Println(err) })
	if err != nil {
		log.Fatal(err)
	}
	// Config.Authorize of the publisher is file.Authorize.
	permit, err := file.Authorize(publisher.NewLogin(token, ""))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(permit.User, permit.Allow, permit.Depth)
	_, err = file.Authorize(publisher.NewLogin(codec.Token("a guess"), ""))
	fmt.Println(err)
	// Output:
	// desk [ES* NQ*] l1
	// the token is wrong, or no longer valid
}

// Mistakes in a file are reported with their lines.
func ExampleParse() {
	_, err := users.Parse("users.yml", []byte("- name: desk\n  token_sha256: 2bb8\n  depth: l3\n"))
	fmt.Println(err)
	// Output:
	// users.yml:2: token_sha256: want the SHA-256 of the token, 64 hexadecimal digits; tickfeed user add makes a token and its SHA-256
	// users.yml:3: depth: must be l2 or l1, got "l3"
}
