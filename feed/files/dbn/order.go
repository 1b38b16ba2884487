package dbn

import (
	"encoding/binary"

	"tickfeed/feed"
	"tickfeed/feed/files/internal/book"
)

// order applies an mbo record to the book of in, by the rules in "Market by order" and "Limit order
// book construction" of Databento's documentation.
func (d *decoder) order(out []feed.Tick, in *instrument, t, recv int64, b []byte) ([]feed.Tick, error) {
	le := binary.LittleEndian
	ref, px, size := le.Uint64(b[16:]), price(b[24:]), le.Uint32(b[32:])
	flags, action, s := b[36], b[38], side(b[39])
	d.doubt(in, flags, t)
	start := len(out)
	if flags&flagSnapshot != 0 {
		t = recv
	} else if in.dirty && in.since != t {
		out = d.flush(out, in) // the venue does not mark the last record of an event
	}
	in.book.ID = in.id
	known := true
	switch action {
	case 'T':
		if size > 0 {
			out = d.tellTrade(out, in, t, px, size, b[39], le.Uint32(b[52:]))
		}
	case 'F', 'N':
		d.count.Ignored++
	case 'R':
		in.orders.Clear()
		in.book.Clear(feed.SideBoth)
		if !d.cfg.QuotesOnly {
			out = append(out, feed.ClearTick(in.id, t, feed.SideBoth))
		}
		d.touch(in, t)
	case 'A', 'M':
		if flags&flagTOB != 0 && s != feed.SideNone {
			if in.book.Clear(s) && !d.cfg.QuotesOnly {
				out = append(out, feed.ClearTick(in.id, t, s))
			}
			if px != feed.NoPrice {
				out = d.change(out, in, t, s, px, int64(size))
			}
			d.touch(in, t)
			break
		}
		old := in.orders.Get(ref)
		if old != nil && size > 0 && px == old.Price && (s == old.Side || s == feed.SideNone) { // change the level only once
			delta := int64(size) - int64(old.Size)
			old.Size = size
			out = d.change(out, in, t, old.Side, px, delta)
			d.touch(in, t)
			break
		}
		if old != nil {
			out = d.change(out, in, t, old.Side, old.Price, -int64(old.Size))
			if action == 'M' && s == feed.SideNone {
				s = old.Side
			}
			in.orders.Delete(ref)
		} else if action == 'M' {
			known = false // but the order is added
		}
		if s != feed.SideNone && px != feed.NoPrice && size > 0 {
			if err := in.orders.Add(ref, book.Order{Price: px, Size: size, Side: s}); err != nil {
				return out, err
			}
			out = d.change(out, in, t, s, px, int64(size))
		}
		d.touch(in, t)
	case 'C':
		o := in.orders.Get(ref)
		if known = o != nil; !known {
			break
		}
		less := min(size, o.Size)
		side, at := o.Side, o.Price
		if o.Size -= less; o.Size == 0 {
			in.orders.Delete(ref)
		}
		out = d.change(out, in, t, side, at, -int64(less))
		d.touch(in, t)
	default:
		d.count.Ignored++
	}
	if !known {
		d.count.Unknown++
	}
	if flags&flagLast != 0 && in.dirty {
		out = d.flush(out, in)
	}
	book.More(out[start:])
	return out, nil
}

// change adds delta to a level of the book, and appends the level.
func (d *decoder) change(out []feed.Tick, in *instrument, t int64, side feed.Side, price, delta int64) []feed.Tick {
	size := in.book.Add(side, price, delta)
	return d.level(out, in, t, side, price, size)
}

// touch notes that the best bid and offer of in may have changed.
func (d *decoder) touch(in *instrument, t int64) {
	if in.dirty {
		return
	}
	in.dirty, in.since = true, t
	if !in.listed {
		in.listed = true
		d.dirty = append(d.dirty, in)
	}
}

// flush appends a quote if the best bid or offer of in has changed.
func (d *decoder) flush(out []feed.Tick, in *instrument) []feed.Tick {
	in.dirty = false
	return in.book.Quote(out, in.since)
}
