package place_test

import (
	"fmt"
	"log"
	"time"

	"tickfeed/codec/recording/place"
)

// Ten minutes from 09:45 in New York, in a recording of the fifth of January.
func ExampleResolve() {
	zone := time.FixedZone("EST", -5*60*60)
	from, err := place.Parse("09:45", zone)
	if err != nil {
		log.Fatal(err)
	}
	first := time.Date(2026, 1, 5, 9, 30, 0, 0, zone)
	last := first.Add(7 * time.Hour)
	from, to := place.Resolve(from, place.Jump(10*time.Minute), first.UnixNano(), last.UnixNano())
	fmt.Println(from, to)
	// Output:
	// 2026-01-05T14:45:00Z 2026-01-05T14:55:00Z
}

// The market time of ticks never goes back: a tick with an earlier event time is due with the tick before it.
func ExampleTimeline() {
	line := place.Timeline{Clock: place.MarketClock, At: place.NoTime}
	for _, event := range []int64{100, 300, 200} {
		fmt.Println(line.Pass(event, 1000))
	}
	// Output:
	// 100
	// 300
	// 300
}
