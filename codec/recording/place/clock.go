package place

import (
	"fmt"
	"math"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Clock selects the time of a tick that places in a recording, and the pace of a replay, use. The zero Clock
// is MarketClock.
type Clock uint8

// The clocks of a recording. Neither goes back.
const (
	// MarketClock is the greatest event time so far: a tick without an event time, or with an earlier one,
	// counts at the time of the ticks before it. A recording without event times uses PublishClock.
	MarketClock Clock = iota
	// PublishClock is the time when the publisher sent the tick's packet.
	PublishClock
)

// ParseClock returns the clock named text: market or publish.
func ParseClock(text string) (Clock, error) {
	switch text {
	case "market":
		return MarketClock, nil
	case "publish":
		return PublishClock, nil
	}
	return 0, fmt.Errorf("a clock is market or publish, got %q", text)
}

// String returns the name that ParseClock accepts.
func (c Clock) String() string {
	if c == PublishClock {
		return "publish"
	}
	return "market"
}

// NoTime is the time of a recording without ticks, and the publish time of its last packet: it is before every other time.
const NoTime = math.MinInt64

// A Timeline assigns a time to each tick of a recording in turn. It is at [NoTime] until the first time is
// known, so that earlier ticks are before every place.
type Timeline struct {
	Clock Clock // never MarketClock if the recording has no event times
	At    int64 // time of the ticks so far, in ns since the Unix epoch
}

// Pass advances the timeline to a tick with event time event, 0 if not known, in a packet published at
// published, and returns the tick's time.
func (l *Timeline) Pass(event, published int64) int64 {
	if l.Clock == PublishClock {
		event = published
	} else if event == 0 {
		return l.At
	}
	l.At = max(l.At, event)
	return l.At
}

// PassPacket passes the ticks of packet h, the bytes raw, one after another and calls each with their times; batch
// is a buffer for decoding. If each returns false, PassPacket stops and returns false.
func (l *Timeline) PassPacket(h *codec.Packet, raw []byte, batch []feed.Tick, each func(t *feed.Tick, at int64) bool) bool {
	body := codec.PacketBody(h, raw[codec.PacketHeader:])
	for {
		n, err := body.Decode(batch)
		for i := range batch[:n] {
			if t := &batch[i]; !each(t, l.Pass(t.EventTime, h.PublishTime)) {
				return false
			}
		}
		if err != nil || n == 0 {
			return true
		}
	}
}
