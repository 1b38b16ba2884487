package exam_test

import (
	"fmt"
	"log"

	"tickfeed/cmd/exam"
)

// A case is a few facts, and the faults that the publisher makes.
func ExampleParseCase() {
	c, err := exam.ParseCase("mine-cut", "mine-cut.case", []byte(`rule: a cut costs no tick
chapter: recovery
section: 7
ticks: 200
causes: cut
hellos: 2
---
at seq 100: cut rst
`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.ID, c.Rule)

	_, err = exam.ParseCase("mine-cut", "mine-cut.case", []byte("rule: a cut costs no tick\nticks: many\n---\n"))
	fmt.Println(err)
	// Output:
	// mine-cut a cut costs no tick
	// mine-cut.case:2:1: ticks: want a number from 1 to 100000, got "many"
}

// The judge compares the lines of a client with those of a right one.
func ExampleJudge() {
	want := []string{`{"seq":1,"type":"trade","price":"187.25"}`, `{"seq":2,"type":"trade","price":"187.26"}`}
	got := []string{`{"price":"187.25","seq":1,"type":"trade"}`, `{"seq":3,"type":"trade","price":"187.27"}`}
	fault := exam.Judge(want, got)
	fmt.Printf("line %d: %s\n", fault.Line, fault.Text)
	// Output:
	// line 2: "seq" is 3, want 2
}
