package page_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/facts"
	"tickfeed/feed/facts/page"
	"tickfeed/feed/sim"
)

// The facts of a simulated market are measured, and drawn as a page.
func ExampleWrite() {
	market, err := sim.New(sim.Config{Seed: 1, Instruments: 2, Rate: 100, DayLength: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	meter := facts.New(0, 1)
	batch := make([]feed.Tick, 1024)
	for range 10 {
		n, err := market.Next(context.Background(), batch)
		if err != nil {
			log.Fatal(err)
		}
		meter.Add(batch[:n])
	}
	var html strings.Builder
	if err := page.Write(&html, []page.Recording{{Title: "a simulation", Report: meter.Report()}}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Contains(html.String(), "a simulation"))
	// Output:
	// true
}
