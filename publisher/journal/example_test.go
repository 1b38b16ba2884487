package journal_test

import (
	"fmt"
	"io"
	"log"
	"os"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
)

// A session is begun in an empty journal, a packet is appended, and a cursor reads it.
func Example() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j, err := journal.Open(journal.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer j.Close()
	recovered := j.Recovered()
	id := feed.NewSessionID()
	if err := j.Begin(recovered.Lineage.Child(id, recovered.Next), codec.ModeLive, recovered.State); err != nil {
		log.Fatal(err)
	}

	tick := feed.Tick{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "AAPL"}}}
	packet := codec.AppendPacket(nil, &codec.Packet{First: j.Next(), Count: 1}, codec.AppendTick(nil, &tick, 0), codec.LineSeed(id, nil))
	if err := j.Append(packet, j.Next()+1, 0); err != nil {
		log.Fatal(err)
	}

	c := j.Cursor(j.Tail())
	defer c.Close()
	for {
		chunk, err := c.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		for h := range recording.Packets(chunk.Data) {
			fmt.Println("a packet with the numbers", h.Range())
		}
	}
	fmt.Println("the next number is", j.Next())
	// Output:
	// a packet with the numbers [1, 2)
	// the next number is 2
}
