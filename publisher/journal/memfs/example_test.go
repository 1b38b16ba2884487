package memfs_test

import (
	"errors"
	"fmt"
	"log"

	"tickfeed/codec"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// A journal is kept in memory, on a disk that then becomes full.
func Example() {
	room := int64(1 << 20)
	fs := &memfs.FS{Room: &room}
	j, err := journal.Open(journal.Config{Dir: "journal", FS: fs})
	if err != nil {
		log.Fatal(err)
	}
	recovered := j.Recovered()
	if err := j.Begin(recovered.Lineage.Child(1, recovered.Next), codec.ModeLive, recovered.State); err != nil {
		log.Fatal(err)
	}
	packet := codec.AppendPacket(nil, &codec.Packet{First: 1, Count: 1}, codec.AppendSkip(nil, 1), codec.LineSeed(1, nil))
	fmt.Println(j.Append(packet, 2, 0))
	room = 0
	packet = codec.AppendPacket(nil, &codec.Packet{First: 2, Count: 1}, codec.AppendSkip(nil, 1), codec.LineSeed(1, nil))
	fmt.Println("full:", errors.Is(j.Append(packet, 3, 0), journal.ErrFull))
	room = 1 << 20
	fmt.Println(j.Append(packet, 3, 0), j.Close())
	// Output:
	// <nil>
	// full: true
	// <nil> <nil>
}
