package publisher

import (
	"cmp"
	"slices"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// mostActivity is how many of the latest numbers Activity looks at, which takes a few milliseconds.
const mostActivity = 300_000

// An Activity says which ticks were published lately, and of what.
type Activity struct {
	Slot  time.Duration // the time that each entry of Ticks stands for
	Ticks []uint64      // published in each slot, the oldest first; the last slot ends now
	// Busiest are the instruments with the most ticks in these slots, in descending order.
	Busiest []InstrumentActivity
}

// An InstrumentActivity is the Activity of one instrument.
type InstrumentActivity struct {
	Name  string
	Total uint64
	Ticks []uint32 // as Activity.Ticks
}

// Activity returns what was published in the last slots times slot, by publish time, and the busiest instruments, at most
// most. If the memory log does not reach back so far, or holds more than a few hundred thousand numbers of that time, the
// slots are shorter. It costs nothing unless it is called.
func (p *Publisher) Activity(slots int, slot time.Duration, most int) Activity {
	now := p.cfg.Now()
	next, _ := p.log.head()
	from := now - int64(slots)*int64(slot)
	seq, whole := p.log.seqAt(from)
	if next-seq > mostActivity {
		seq, whole = next-mostActivity, false
	}
	at, ok := p.log.find(seq)
	c := counting{totals: make([]uint64, slots), slot: max(1, int64(slot)), from: from}
	for ok {
		var v view
		if v, ok = p.log.view(at); !ok || len(v.data) == 0 {
			break
		}
		if !whole { // the slots begin with the first packet
			first := codec.PacketAt(v.data).PublishTime
			c.from = max(from, min(first, now-1))
			c.slot, whole = max(1, (now-c.from)/int64(slots)), true
		}
		for b := v.data; len(b) > 0; b = b[codec.PacketSize(b):] {
			c.packet(b)
		}
		at = place{v.at.segment, v.at.offset + len(v.data)}
		more := v.end < next
		v.release()
		if !more {
			break
		}
	}
	return Activity{Slot: time.Duration(c.slot), Ticks: c.totals, Busiest: c.busiest(p.seq.catalog(), most)}
}

// A counting counts ticks by slot and instrument.
type counting struct {
	from, slot int64 // beginning and width of the slots, in ns
	totals     []uint64
	counts     [][]uint32 // by instrument, then slot; nil for none
	ids        [256]feed.InstrumentID
	sizes      [256]uint8
}

// packet counts the ticks of the first of packets.
func (c *counting) packet(packets []byte) {
	h := codec.PacketAt(packets)
	i := int(min(max(0, (h.PublishTime-c.from)/c.slot), int64(len(c.totals)-1)))
	for body := packets[codec.PacketHeader:codec.PacketSize(packets)]; len(body) > 0; {
		n := codec.ScanFixed(body, c.ids[:], c.sizes[:])
		size := 0
		for k, id := range c.ids[:n] {
			c.count(i, id)
			size += int(c.sizes[k])
		}
		if body = body[size:]; len(body) == 0 {
			break
		}
		e := entryAt(body)
		if e.Tick {
			c.count(i, e.Instrument)
		}
		body = body[e.Size:]
	}
}

func (c *counting) count(slot int, id feed.InstrumentID) {
	c.totals[slot]++
	if int(id) >= len(c.counts) {
		c.counts = append(c.counts, make([][]uint32, int(id)+1-len(c.counts))...)
	}
	if c.counts[id] == nil {
		c.counts[id] = make([]uint32, len(c.totals))
	}
	c.counts[id][slot]++
}

// busiest returns the instruments with the most ticks.
func (c *counting) busiest(known feed.Catalog, most int) []InstrumentActivity {
	type row struct {
		id    feed.InstrumentID
		total uint64
	}
	var rows []row
	for id, ticks := range c.counts {
		r := row{id: feed.InstrumentID(id)}
		for _, n := range ticks {
			r.total += uint64(n)
		}
		if r.total > 0 {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.id, b.id)) })
	rows = rows[:min(most, len(rows))]
	names := make(map[feed.InstrumentID]string)
	for t := range known.Definitions(func(id feed.InstrumentID) bool {
		return slices.ContainsFunc(rows, func(r row) bool { return r.id == id })
	}) {
		names[t.Instrument] = t.Definition().Name()
	}
	busiest := make([]InstrumentActivity, len(rows))
	for i, r := range rows {
		busiest[i] = InstrumentActivity{Name: names[r.id], Total: r.total, Ticks: c.counts[r.id]}
	}
	return busiest
}
