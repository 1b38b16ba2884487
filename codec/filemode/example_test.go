package filemode_test

import (
	"fmt"

	"tickfeed/codec/filemode"
)

// A mode is written as for chmod.
func ExampleParse() {
	mode, err := filemode.Parse("0640")
	fmt.Println(mode, err)
	// Output:
	// -rw-r----- <nil>
}
