package recording

import (
	"io"

	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// timelineSearch bounds the bytes of a recording that are read to find its first event time.
const timelineSearch = 64 << 20

// Timeline returns the timeline of clock at the beginning of the recording, and the first time on it, which is
// place.NoTime if the recording has no ticks. It does not move the Reader.
func (r *Reader) Timeline(clock place.Clock) (place.Timeline, int64, error) {
	probe, err := NewReader(r.r, r.size)
	if err != nil {
		return place.Timeline{}, 0, err
	}
	defer probe.Release()
	line := place.Timeline{Clock: clock, At: place.NoTime}
	published := int64(place.NoTime)
	var batch [64]feed.Tick
	for probe.Offset() < timelineSearch {
		item, err := probe.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return place.Timeline{}, 0, err
		}
		for h, raw := range Packets(item.Data) {
			if !line.PassPacket(&h, raw, batch[:], func(_ *feed.Tick, at int64) bool {
				if published == place.NoTime {
					published = h.PublishTime
				}
				return at == place.NoTime
			}) {
				return place.Timeline{Clock: clock, At: place.NoTime}, line.At, nil
			}
		}
	}
	return place.Timeline{Clock: place.PublishClock, At: place.NoTime}, published, nil
}

// Span returns the first and the last time of the recording on clock, both place.NoTime if there are no ticks. It
// reads the index and the last part of the file, or, if there is no index, the headers of all packets. It does
// not move the Reader.
func (r *Reader) Span(clock place.Clock) (first, last int64, err error) {
	line, first, err := r.Timeline(clock)
	if err != nil || first == place.NoTime {
		return place.NoTime, place.NoTime, err
	}
	probe, err := NewReader(r.r, r.size)
	if err != nil {
		return 0, 0, err
	}
	defer probe.Release()
	probe.marks = r.marks
	marks, err := probe.Marks()
	if err != nil {
		return 0, 0, err
	}
	line.At = first
	const most = 8 // marks to go back in search of a tick
	var batch [64]feed.Tick
	for i := len(marks) - 1; i >= max(0, len(marks)-most) && line.At == first; i-- {
		if ok, err := probe.enterMark(marks[i]); err != nil || !ok {
			return first, first, err
		}
		for {
			item, err := probe.Next()
			if err == io.EOF {
				break
			} else if err != nil {
				return 0, 0, err
			}
			for h, raw := range Packets(item.Data) {
				line.PassPacket(&h, raw, batch[:], func(*feed.Tick, int64) bool { return true })
			}
		}
	}
	return first, line.At, nil
}

// Resolve calls place.Resolve for the recording on clock.
func (r *Reader) Resolve(from, to place.Place, clock place.Clock) (place.Place, place.Place, error) {
	first, last := int64(0), int64(0)
	if from.Relative() || to.Relative() {
		var err error
		if first, last, err = r.Span(clock); err != nil {
			return from, to, err
		}
	}
	from, to = place.Resolve(from, to, first, last)
	return from, to, nil
}
