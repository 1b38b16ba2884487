package pattern_test

import (
	"fmt"

	"tickfeed/codec/pattern"
	"tickfeed/feed"
)

func ExampleMatch() {
	future := &feed.Definition{Symbol: "ESZ6", Venue: "XCME"}
	for _, p := range []string{"ES*", "ES??@XCME", "ES*@", "NQ*"} {
		fmt.Println(p, pattern.Match(p, future))
	}
	// Output:
	// ES* true
	// ES??@XCME true
	// ES*@ false
	// NQ* false
}

// Two patterns have a pattern for what both match, or nothing in common.
func ExampleMeet() {
	fmt.Println(pattern.Meet("ES*", "*@XCME"))
	_, ok := pattern.Meet("ES*", "AAPL")
	fmt.Println(ok)
	fmt.Println(pattern.Within("ES*@XCME", "E*"))
	// Output:
	// ES*@XCME true
	// false
	// true
}

func ExampleMatcher() {
	m := pattern.NewMatcher([]string{"ES*", "AAPL"})
	for _, symbol := range []string{"AAPL", "ESZ6", "MSFT"} {
		fmt.Println(symbol, m.Match(&feed.Definition{Symbol: symbol}))
	}
	// Output:
	// AAPL true
	// ESZ6 true
	// MSFT false
}
