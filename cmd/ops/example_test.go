package ops_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/cmd/ops"
)

// A command serves its status and its health, and a client asks for them.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	site := ops.Site{
		Command: "publish", Version: "1.2",
		Status: func() any { return map[string]int{"subscribers": 3} },
		Ready:  func() []ops.Check { return []ops.Check{{Name: "journal", Detail: "the disk is full"}} },
	}
	served := make(chan error)
	go func() { served <- ops.Serve(ctx, listener, site.Handler(), zerolog.Nop()) }()

	for _, path := range []string{"/status", "/readyz"} {
		answer, err := (&ops.Client{Addr: listener.Addr().String()}).Ask(ctx, path, nil, "", 10*time.Second)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(answer.Status, " ", string(answer.Body))
	}
	stop()
	fmt.Println(<-served)
	// Output:
	// 200 {"subscribers":3}
	// 503 {"ok":false,"checks":[{"name":"journal","ok":false,"detail":"the disk is full"}]}
	// context canceled
}
