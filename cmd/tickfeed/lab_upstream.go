package main

import (
	"context"
	"net"
	"time"
)

// Bounds of the reports about an upstream that is down when a lab starts.
const (
	upstreamPoll    = time.Second      // between two attempts to reach it
	upstreamTime    = 5 * time.Second  // of one attempt
	upstreamReports = 60 * time.Second // longest time between two reports
)

// watchUpstream reports that the publisher at addr cannot be reached, at once and then after 1 s, 2 s, 4 s and so on, until it
// can be reached or ctx ends. It says nothing if the publisher can be reached at once.
func (p *program) watchUpstream(ctx context.Context, addr string, dial func(context.Context) (net.Conn, error)) {
	began := time.Now()
	for next, step := began, upstreamPoll; ; {
		dialling, cancel := context.WithTimeout(ctx, upstreamTime)
		nc, err := dial(dialling)
		cancel()
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return
		case err == nil:
			nc.Close()
			if next != began {
				p.notef("the upstream %s can be reached now", addr)
			}
			return
		case !now.Before(next):
			p.notef("the upstream cannot be reached: %v; trying again every second, and clients are turned away until then", err)
			next, step = now.Add(step), min(2*step, upstreamReports)
		}
		select {
		case <-time.After(upstreamPoll):
		case <-ctx.Done():
			return
		}
	}
}
