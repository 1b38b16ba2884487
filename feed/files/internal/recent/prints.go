package recent

import "hash/maphash"

// A Print identifies a trade in several files of a vendor.
type Print struct {
	Source      uint64 // the instrument, and whatever else distinguishes numberings
	Time        int64
	Number      uint64 // the venue's number of the trade or its message; 0 if there is none
	Ref         string // the venue's id if it is text
	Price, Size int64
	Exponent    [2]int8 // of Price and Size
	Side        byte

	nth int // index among equal prints in a row
}

// Prints detects trades of earlier files in a later file. Equal trades in one file are different
// trades: the second one corresponds to the second one in another file. The zero Prints is ready to use.
type Prints struct {
	seed   maphash.Seed
	seeded bool
	files  int
	before Set // trades of earlier files
	now    Set // trades of the current file
}

// Group holds the last trades of one instrument with the same time and number. The zero Group is empty.
type Group struct {
	file   int
	prints []Print
}

// maxGroup bounds how many trades of a Group are compared.
const maxGroup = 64

// Begin starts a file.
func (p *Prints) Begin() {
	if !p.seeded {
		p.seed, p.seeded = maphash.MakeSeed(), true
	}
	p.files++
	if p.now.young.n == 0 {
		return
	}
	if p.before.young.n == 0 {
		p.before, p.now = p.now, p.before
		return
	}
	p.before.AddAll(&p.now)
	p.now = Set{}
}

// Repeated reports whether an earlier file has t, a trade of the current file. g is the Group of its instrument.
func (p *Prints) Repeated(g *Group, t Print) bool {
	if n := len(g.prints); n > 0 && (g.file != p.files || g.prints[n-1].Time != t.Time || g.prints[n-1].Number != t.Number) {
		g.prints = g.prints[:0]
	}
	nth := 0
	for _, other := range g.prints {
		if other == t {
			nth++
		}
	}
	if len(g.prints) < maxGroup {
		g.file = p.files
		g.prints = append(g.prints, t)
	}
	t.nth = nth
	key := maphash.Comparable(p.seed, t)
	p.now.Add(key)
	return p.before.Has(key)
}

// Forgot reports whether trades were forgotten, so that repeated ones may not be detected.
func (p *Prints) Forgot() bool { return p.before.Forgot() || p.now.Forgot() }
