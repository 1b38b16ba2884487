package script_test

import (
	"fmt"

	"tickfeed/feed/script"
)

// A language of one verb.
func ExampleParse() {
	bells := &script.Language{
		Noun:  "sound",
		Verbs: []script.Form{{Word: "ring", Usage: "ring N", Does: "rings a bell N times", Example: "at seq 10: ring 3"}},
		Parse: func(p *script.Parser, verb int) (any, error) { return p.Number("ring", 1, 12) },
	}
	s, err := script.Parse("morning", []byte("at seq 10: ring 3\nevery 1h: ring 1 # the hours\n"), bells)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range s.Rules {
		fmt.Println(r.Text, r.Does)
	}
	_, err = script.Parse("morning", []byte("at seq 10: ring 13"), bells)
	fmt.Println(err)
	// Output:
	// at seq 10: ring 3 3
	// every 1h: ring 1 1
	// morning:1:17: ring must be followed by a number of at least 1 and at most 12, got "13"
}
