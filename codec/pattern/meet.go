package pattern

import "strings"

// Meet returns a pattern that matches every instrument that both a and b match, and none that a does not match. It matches an
// instrument that b does not match only where neither pattern is a part of the other, such as A* and *B. Meet returns false if no
// instrument matches both.
func Meet(a, b string) (pattern string, ok bool) {
	symbolA, venueA, hasA := strings.Cut(a, "@")
	symbolB, venueB, hasB := strings.Cut(b, "@")
	symbol, ok := meetParts(symbolA, symbolB)
	switch {
	case !ok:
		return "", false
	case !hasB && !hasA:
		return symbol, true
	case !hasB:
		return symbol + "@" + venueA, true
	case !hasA:
		return symbol + "@" + venueB, true
	}
	venue, ok := meetParts(venueA, venueB)
	return symbol + "@" + venue, ok
}

// Within reports whether every instrument that pattern a matches is matched by pattern b too. It may return false for an a that
// matches fewer instruments than b but is written in another way.
func Within(a, b string) bool {
	symbolA, venueA, hasA := strings.Cut(a, "@")
	symbolB, venueB, hasB := strings.Cut(b, "@")
	if !hasA {
		venueA = "*"
	}
	return within([]rune(symbolA), []rune(symbolB)) && (!hasB || within([]rune(venueA), []rune(venueB)))
}

// meetParts is Meet for two symbol parts, or two venue parts.
func meetParts(a, b string) (part string, ok bool) {
	if !strings.ContainsAny(a, "*?") {
		return a, glob(b, a)
	}
	if !strings.ContainsAny(b, "*?") {
		return b, glob(a, b)
	}
	x, y := []rune(a), []rune(b)
	switch {
	case within(x, y):
		return a, true
	case within(y, x):
		return b, true
	}
	return a, overlap(x, y)
}

// within reports whether b, read as a pattern, matches a, read as a text whose * is matched by a * only, and whose ? by a ? or *.
func within(a, b []rune) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for i < len(a) {
		switch {
		case j < len(b) && b[j] == '*':
			star, mark = j, i
			j++
		case j < len(b) && (b[j] == a[i] || b[j] == '?') && a[i] != '*':
			i++
			j++
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	for j < len(b) && b[j] == '*' {
		j++
	}
	return j == len(b)
}

// overlap reports whether some text matches both a and b.
func overlap(a, b []rune) bool {
	// reach[j] reports whether some text matches both the first i elements of a and the first j elements of b.
	reach := make([]bool, len(b)+1)
	next := make([]bool, len(b)+1)
	reach[0] = true
	for i := 0; i <= len(a); i++ {
		clear(next)
		for j := 0; j <= len(b); j++ {
			if !reach[j] {
				continue
			}
			starA, starB := i < len(a) && a[i] == '*', j < len(b) && b[j] == '*'
			if starB { // it matches nothing more
				reach[j+1] = true
			}
			if starA {
				next[j] = true
			}
			switch {
			case i == len(a) || j == len(b):
			case starA && !starB: // the * takes the next element of b
				reach[j+1] = true
			case starB && !starA:
				next[j] = true
			case a[i] == '?' || b[j] == '?' || a[i] == b[j]:
				next[j+1] = true
			}
		}
		if i < len(a) {
			reach, next = next, reach
		}
	}
	return reach[len(b)]
}
