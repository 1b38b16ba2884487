package survey_test

import (
	"context"
	"fmt"
	"log"

	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/codec/recording/survey"
)

// The busiest instrument of a recorded day, and whether the recording is complete.
func ExampleTake() {
	in, err := recording.Open("../../../testdata/day.tick")
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()
	r, err := in.Reader()
	if err != nil {
		log.Fatal(err)
	}
	s, err := survey.Take(context.Background(), r, place.MarketClock, nil)
	if err != nil {
		log.Fatal(err)
	}
	busiest := s.Instruments[0]
	fmt.Println(busiest.Ticks, "of", s.Ticks, "ticks are of", busiest.Symbol)
	fmt.Println("sound:", s.Sound(), "missing:", s.Missing)
	// Output:
	// 1752 of 7848 ticks are of AAPL
	// sound: true missing: 0
}
