package nouns_test

import (
	"fmt"

	"tickfeed/feed/nouns"
)

func ExampleCount() {
	fmt.Println(nouns.Count(1, "recovery"))
	fmt.Println(nouns.Count(12345, "recovery"))
	// Output:
	// 1 recovery
	// 12,345 recoveries
}

func ExampleAre() {
	fmt.Println(nouns.Are(1, "number", "gone"))
	fmt.Println(nouns.Are(12345, "number", "gone"))
	// Output:
	// 1 number is gone
	// 12,345 numbers are gone
}
