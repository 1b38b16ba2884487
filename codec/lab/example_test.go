package lab_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"tickfeed/codec/lab"
)

// A script with a mistake names its line and column; each rule of a script without one says what it does.
func ExampleParse() {
	s, err := lab.Parse("faults", []byte("seed 7\nat seq 1000: cut rst # throws away what is on its way\nfor 10% with 0.1%: drop tick\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range s.Rules {
		fmt.Println(r.Line, r.Text, r.Trigger.Repeatable())
	}
	_, err = lab.Parse("faults", []byte("at seq 1000: cut rts\n"))
	fmt.Println(err)
	// Output:
	// 2 at seq 1000: cut rst true
	// 3 for 10% with 0.1%: drop tick true
	// faults:1:18: "rts" must be fin or rst or inside; did you mean "rst"?
}

// A lab is a server like any other: it serves a listener, and dials the publisher for each of its clients.
func ExampleLab_Serve() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ln, err := net.Listen("unix", filepath.Join(dir, "lab"))
	if err != nil {
		fmt.Println(err)
		return
	}
	script, err := lab.Parse("rules", []byte("at login 1: refuse busy retry 1s"))
	if err != nil {
		fmt.Println(err)
		return
	}
	l := &lab.Lab{
		Script: script,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "publisher"))
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- l.Serve(ctx, ln) }()
	// Here clients connect to the address of ln.
	cancel()
	<-served
	for _, r := range l.Results() {
		fmt.Printf("%s: %d times\n", r.Text, r.Times)
	}
	// Output:
	// at login 1: refuse busy retry 1s: 0 times
}
