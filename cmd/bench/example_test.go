package bench_test

import (
	"log"
	"os"

	"tickfeed/cmd/bench"
)

// A figure has the median of its runs, and that of the machine's limit in the same runs.
func ExampleFigure_WriteText() {
	f := bench.Figure{
		Scenario: "throughput", Name: "1 subscriber", Unit: bench.TicksPerSecond,
		Measured: bench.NewSpread([]float64{2.1e6, 2.3e6, 2.2e6}),
		Limit:    bench.NewSpread([]float64{2.9e6, 3.1e6, 3.0e6}), Against: "plain TCP",
		Ratio: bench.NewSpread([]float64{0.724, 0.742, 0.733}),
	}
	if err := f.WriteText(os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// throughput: 1 subscriber                           2.20M/s (2.10M/s–2.30M/s)           plain TCP 3.00M/s      0.73 (0.72–0.74)
}
