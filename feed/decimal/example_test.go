package decimal_test

import (
	"fmt"

	"tickfeed/feed/decimal"
)

// A price is an integer in units of a power of ten, here of hundredths.
func ExampleParse() {
	fmt.Println(decimal.Parse("270.90", -2))
	_, err := decimal.Parse("270.905", -2)
	fmt.Println(err)
	// Output:
	// 27090 <nil>
	// the number has more decimals than its unit
}

func ExampleAppend() {
	fmt.Printf("%s %s\n", decimal.Append(nil, 27090, -2), decimal.Append(nil, 2, 3))
	// Output:
	// 270.9 2000
}

// Scan finds the unit that a number needs.
func ExampleScan() {
	mantissa, exponent, err := decimal.Scan("270.90")
	fmt.Println(mantissa, exponent, err)
	// Output:
	// 2709 -1 <nil>
}
