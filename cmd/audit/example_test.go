package audit_test

import (
	"fmt"
	"log"

	"tickfeed/cmd/audit"
	"tickfeed/feed"
)

// An account is kept beside the ledger of a reader, and compared with it: here the ledger has numbers that the reader did not report.
func ExampleAccount() {
	const session = 0x20261122a
	var account audit.Account
	var ledger feed.Ledger
	for _, r := range []feed.Range{{From: 1, To: 3}, {From: 5, To: 6}} {
		if err := account.Note(session, r, audit.Delivered, audit.Unaccounted); err != nil {
			log.Fatal(err)
		}
		ledger.Deliver(session, r)
	}
	fmt.Println(account.Compare(&ledger))
	ledger.Lose(session, feed.Range{From: 3, To: 5})
	fmt.Println(account.Compare(&ledger))
	// Output:
	// <nil>
	// by the ledger, number 3 of session 000000020261122a was lost, it was unaccounted
}

// Ticks are recognised by their hashes, which leave out their numbers.
func ExampleBook() {
	const session = 0x20261122a
	var published audit.Book[uint64]
	sent := feed.Trade{Price: 18725, Size: 100}.Tick(0, 1)
	*published.At(session, 41) = audit.Hash(&sent)

	received := sent
	received.Seq = 41
	fmt.Println(published.Of(session, 41) == audit.Hash(&received))
	received.Values[0]++
	fmt.Println(published.Of(session, 41) == audit.Hash(&received))
	// Output:
	// true
	// false
}
