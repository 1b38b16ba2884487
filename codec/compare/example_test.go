package compare_test

import (
	"context"
	"fmt"
	"strings"

	"tickfeed/codec/compare"
)

// Two clients have printed what they received, and one of them lacks a number.
func ExampleCompare() {
	var a, b strings.Builder
	for seq := 1; seq <= 5; seq++ {
		fmt.Fprintf(&a, trade, seq, "187.25")
		if seq != 3 {
			fmt.Fprintf(&b, trade, seq, "187.25")
		}
	}
	r, err := compare.Compare(context.Background(), linesOf(a.String()), linesOf(b.String()), compare.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the same:", r.Same)
	for _, s := range r.Sessions {
		fmt.Println("B lacks", s.Lacks[1][compare.Missing].Count, "of session", s.Session)
	}
	// Output:
	// the same: 4
	// B lacks 1 of session 000000000000000a
}
