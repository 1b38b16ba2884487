package netsim_test

import (
	"context"
	"fmt"
	"io"

	"tickfeed/codec/netsim"
)

// The first connection is cut inside the second message; the client connects again.
func Example() {
	network := netsim.New(1, netsim.Config{})
	network.OnConnect(func(l *netsim.Link) {
		if l.Number() == 1 {
			l.Down.ResetAfter(10)
		}
	})

	ln, err := network.Listen("pub:1")
	if err != nil {
		panic(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "tick 1\ntick 2\n")
			conn.Close()
		}
	}()

	for range 2 {
		conn, err := network.Dial(context.Background(), "pub:1")
		if err != nil {
			panic(err)
		}
		data, err := io.ReadAll(conn)
		fmt.Printf("%q %v\n", data, err)
		conn.Close()
	}
	ln.Close()
	<-served
	fmt.Println("cuts:", network.Stats().Cuts)
	// Output:
	// "tick 1\ntic" read netsim client:1->pub:1: read: connection reset by peer
	// "tick 1\ntick 2\n" <nil>
	// cuts: 1
}
