package replay_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"sync"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/replay"
	"tickfeed/subscriber"
)

// A recording is made, and played to a subscriber.
func ExampleServe() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "day.tick")
	if err := record(path); err != nil {
		log.Fatal(err)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { _ = replay.Serve(ctx, listener, path) })

	sub, err := subscriber.New(subscriber.Config{Addrs: []string{listener.Addr().String()}, Start: subscriber.Beginning})
	if err != nil {
		log.Fatal(err)
	}
	for t, err := range sub.Ticks(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if t.Kind == feed.KindTrade {
			fmt.Println(t.Seq, t.Symbol, t.Price(t.Trade().Price))
			break
		}
	}
	stop()
	serving.Wait()

	for part, err := range recording.Parts(path) {
		if err != nil {
			log.Fatal(err)
		}
		for i := range part.Ticks {
			t := &part.Ticks[i]
			fmt.Println(t.Seq, part.Definition(t.Instrument).Symbol, t.Kind)
		}
	}
	// Output:
	// 2 AAPL 270.96
	// 1 AAPL definition
	// 2 AAPL trade
}

// record writes a recording of a definition and a trade.
func record(path string) error {
	const noon = 1_772_461_800_000_000_000
	file, err := recording.CreateNew(path)
	if err != nil {
		return err
	}
	builder, err := recording.NewBuilder(file, codec.FileHeader{
		Version: codec.Version, Lineage: feed.Lineage{{ID: 0x20261122a, First: 1}}, Source: "an example", Next: 1, Created: noon,
	}, nil)
	if err != nil {
		return err
	}
	err = builder.Append([]feed.Tick{
		{Kind: feed.KindDefinition, EventTime: noon, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "AAPL", PriceExponent: -2}}},
		feed.Trade{Price: 27096, Size: 10, Side: feed.SideBuy}.Tick(0, noon),
	})
	if err != nil {
		return err
	}
	return builder.Close()
}

// A player with a stage can be paused, stepped and moved while it runs.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "day.tick")
	if err := record(path); err != nil {
		log.Fatal(err)
	}
	day, err := recording.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer day.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}

	stage, err := replay.NewStage(publisher.Config{}, 0, dir, []net.Listener{listener})
	if err != nil {
		log.Fatal(err)
	}
	player, err := replay.New(replay.Config{Recordings: []replay.Recording{{Name: path, R: day, Size: day.Size()}}, Paused: true}, stage)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = stage.Run(ctx) })
	running.Go(func() { _ = player.Run(ctx) })
	if err := player.Step(ctx, 2); err != nil { // the definition and the trade
		log.Fatal(err)
	}
	fmt.Println(player.Status().State, player.Status().Seq)
	stop()
	running.Wait()
	if err := stage.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// paused 3
}
