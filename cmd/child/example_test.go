package child_test

import (
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"time"

	"tickfeed/cmd/child"
)

// A child prints what it reads, and ends with its standard input.
func Example() {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(child.Environ(), role+"=heeding")
	var said []byte
	p, err := child.Start(cmd, child.Options{Stdin: true, Stdout: func(r io.Reader) { said, _ = io.ReadAll(r) }})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Kill()
	fmt.Fprintln(p.Stdin, "hello")
	if err := p.Stop(10 * time.Second); err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(said))
	fmt.Println(p.Err())
	// Output:
	// ready
	// hello
	// exit status 7
}
