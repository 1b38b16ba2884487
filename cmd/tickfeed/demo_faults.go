package main

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"tickfeed/codec/lab"
)

// demoRules are the faults of a demo's connection, which the demo triggers by name.
const (
	demoCut   = "cut"
	demoStall = "stall"
	demoRules = "on " + demoCut + ": cut rst\non " + demoStall + ": stall "
)

// guestsMeet triggers a fault for the subscribers that have joined.
func (d *demo) guestsMeet(fault string) {
	if d.guests != nil {
		d.guests.Trigger(fault)
	}
}

// newLab returns a lab before the present publisher.
func (d *demo) newLab() (*lab.Lab, error) {
	script, err := lab.Parse("demo", []byte(demoRules+stallTime.String()))
	if err != nil {
		return nil, err
	}
	return &lab.Lab{
		Script: script,
		Dial:   func(ctx context.Context) (net.Conn, error) { return dialNarrow(ctx, d.publisher.Load().listens()) },
	}, nil
}

// watch causes the faults and prints the status, until the demo's time is over or ctx ends.
func (d *demo) watch(ctx context.Context) error {
	chance := rand.New(rand.NewPCG(d.o.seed, 0x64656d6f))
	second := time.NewTicker(time.Second)
	defer second.Stop()
	end := time.NewTimer(d.o.duration)
	defer end.Stop()
	next := time.NewTimer(d.o.every)
	defer next.Stop()
	var deck []fault
	for {
		select {
		case <-second.C:
			d.status()
		case <-next.C:
			if len(deck) == 0 {
				deck = slices.Clone(faults)
				chance.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
			}
			if err := deck[0].do(d, ctx, chance); err != nil && ctx.Err() == nil {
				return err
			}
			d.faults[deck[0].name]++
			deck = deck[1:]
			// After the last fault there is time to see the recovery.
			if time.Since(d.began)+d.o.every+d.o.every/2 < d.o.duration {
				next.Reset(d.o.every)
			}
		case err := <-d.crashed:
			return err
		case <-end.C:
			return nil
		case <-ctx.Done():
			d.print("\nInterrupted: finishing early.\n")
			return nil
		}
	}
}

// A fault is a failure that the demo causes.
type fault struct {
	name string
	do   func(d *demo, ctx context.Context, chance *rand.Rand) error
}

var faults = []fault{
	{"cut one", func(d *demo, _ context.Context, chance *rand.Rand) error {
		x := d.parties[chance.IntN(len(d.parties))]
		d.say(yellow, "FAULT: the connection of %s is cut", x.name)
		x.lab.Trigger(demoCut)
		d.guestsMeet(demoCut)
		return nil
	}},
	{"kill", func(d *demo, ctx context.Context, _ *rand.Rand) error {
		d.say(yellow, "FAULT: the publisher is killed (kill -9), and started again over its journal; its market opens on the next day")
		if err := d.publisher.Load().Kill(); err != nil {
			return err
		}
		select {
		case <-time.After(downTime):
		case <-ctx.Done():
		}
		return d.startPublisher(context.WithoutCancel(ctx))
	}},
	{"stall", func(d *demo, _ context.Context, chance *rand.Rand) error {
		x := d.parties[chance.IntN(len(d.parties)-1)] // except the slow one, which would hardly notice
		d.say(yellow, "FAULT: the network of %s goes dead for %v, connections stay open", x.name, stallTime)
		x.lab.Trigger(demoStall)
		d.guestsMeet(demoStall)
		return nil
	}},
	{"cut all", func(d *demo, _ context.Context, _ *rand.Rand) error {
		d.say(yellow, "FAULT: all connections are cut at once")
		for _, x := range d.parties {
			x.lab.Trigger(demoCut)
		}
		d.guestsMeet(demoCut)
		return nil
	}},
}
