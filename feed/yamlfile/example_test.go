package yamlfile_test

import (
	"errors"
	"fmt"
	"log"

	"tickfeed/feed/yamlfile"
)

// The node that Parse returns decodes as any of package yaml.
func ExampleParse() {
	root, err := yamlfile.Parse([]byte("- symbol: AAPL\n  price: 270.90\n"), "price: 271.00")
	if err != nil {
		log.Fatal(err)
	}
	var list []struct {
		Symbol string
		Price  string
	}
	if err := root.Decode(&list); err != nil {
		log.Fatal(err)
	}
	fmt.Println(list)
	// Output:
	// [{AAPL 270.90}]
}

// A mistake has its line, and says what to write instead.
func ExampleError() {
	_, err := yamlfile.Parse([]byte("- symbol: AAPL\n  price: 270.90\n- symbol: MSFT\n  price 402.10\n"), "price: 271.00")
	var mistake *yamlfile.Error
	if errors.As(err, &mistake) {
		fmt.Println(mistake.Line)
		fmt.Println(mistake.Text)
	}
	// Output:
	// 4
	// want a colon and a blank after the name of a field, such as price: 271.00
}
