package fit_test

import (
	"context"
	"fmt"
	"log"

	"tickfeed/feed"
	"tickfeed/feed/sim"
	"tickfeed/feed/sim/fit"
)

// The habits of a market are measured, and a market like it is simulated.
func Example() {
	ctx := context.Background()
	market, err := sim.New(sim.Config{Seed: 1, Instruments: 2, Rate: 100})
	if err != nil {
		log.Fatal(err)
	}
	fitter := fit.New(0, 1)
	batch := make([]feed.Tick, 1024)
	for range 3 {
		n, err := market.Next(ctx, batch)
		if err != nil {
			log.Fatal(err)
		}
		fitter.Add(batch[:n])
	}
	result, err := fitter.Fit(ctx, "an example")
	if err != nil {
		log.Fatal(err)
	}
	like, err := sim.New(sim.Config{Seed: 2, Profile: result.Profile})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := like.Next(ctx, batch); err != nil {
		log.Fatal(err)
	}
	fmt.Println(batch[0].Definition().Name())
	// Output:
	// AAPL@SIM
}
