package replay_test

import (
	"context"
	"errors"
	"testing"

	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/replay"
)

// BenchmarkMax is what a tick costs to play at the greatest speed, journal included, without
// subscribers.
func BenchmarkMax(b *testing.B) {
	rec, ticks, _, _ := market(b, 1_000_000, false)
	b.ReportAllocs()
	for b.Loop() {
		stage, err := replay.NewStage(publisher.Config{}, b.TempDir(), nil)
		if err != nil {
			b.Fatal(err)
		}
		p, err := replay.New(replay.Config{Recordings: []replay.Recording{rec}, Speed: replay.Max, ExitAtEnd: true}, stage)
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(p.Run(context.Background()), stage.Close()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ticks)), "ns/tick")
}

// BenchmarkFirstSeek is what a tick costs that a seek passes for the first time, where there is no
// state to go on from.
func BenchmarkFirstSeek(b *testing.B) {
	rec, ticks, _, _ := market(b, 1_000_000, false)
	b.ReportAllocs()
	for b.Loop() {
		p, err := replay.New(replay.Config{
			Recordings: []replay.Recording{rec}, From: replay.ToSeq(uint64(len(ticks))), Speed: replay.Max, ExitAtEnd: true,
		}, nowhere{})
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Run(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ticks)), "ns/tick")
}

// nowhere is an output that takes everything.
type nowhere struct{ replay.Output }

func (nowhere) Begin(context.Context, uint64, *feed.State) error     { return nil }
func (nowhere) Republish(context.Context, []feed.Tick, uint64) error { return nil }
func (nowhere) End(context.Context) error                            { return nil }
