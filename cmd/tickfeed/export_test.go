package main

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkExport is the whole command over a recording of 300,000 quotes of 100 instruments, on as many cores as -cpu says.
func BenchmarkExport(b *testing.B) {
	const quotes = 300_000
	dir := b.TempDir()
	csv, rec := filepath.Join(dir, "in.csv"), filepath.Join(dir, "in.tick")
	require.NoError(b, os.WriteFile(csv, manyQuotes(rand.New(rand.NewPCG(1, 2)), quotes), 0o600))
	command := func(b *testing.B, args ...string) {
		var said strings.Builder
		if code := run(args, strings.NewReader(""), io.Discard, &said); code != exitDone {
			b.Fatal(said.String())
		}
	}
	command(b, "import", csv, "-o", rec)
	for _, format := range []string{"parquet", "csv", "ndjson"} {
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				command(b, "export", rec, "-o", filepath.Join(dir, "out."+format), "--force")
			}
			b.ReportMetric(quotes*float64(b.N)/b.Elapsed().Seconds(), "ticks/s")
		})
	}
}
