package recent

import "hash/maphash"

// A Print is what makes a trade the same one in two files of a vendor.
type Print struct {
	Source      uint64 // the instrument, and what else tells numberings apart
	Time        int64
	Number      uint64 // the venue's, of the trade or its message; 0 if there is none
	Ref         string // the venue's id where it is text
	Price, Size int64
	Exponent    [2]int8 // of Price and Size
	Side        byte

	nth int // of equal prints one after the other
}

// Prints knows a trade of one file again in a later file. Equal trades of one file are different
// trades: the second of them is the second of the other file. The zero Prints is ready to use.
type Prints struct {
	seed   maphash.Seed
	seeded bool
	files  int
	before Set // those of the files before
	now    Set // those of the file at hand
}

// Group is the last trades of one instrument: those of one time and number. The zero Group is empty.
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

// Repeated reports whether t, a trade of the file at hand whose instrument has g, stood in a file
// before.
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

// Forgot reports whether trades were forgotten, so that some may not be known again.
func (p *Prints) Forgot() bool { return p.before.Forgot() || p.now.Forgot() }
