package script

import (
	"fmt"
	"strings"
)

// Nearest returns the one of words that a person who typed word probably meant, or "" if none is near enough. Upper and lower case are
// the same.
func Nearest[S ~string](word string, words []S) (best S) {
	typed := []rune(strings.ToLower(word))
	if len(typed) < 2 {
		return ""
	}
	least := max(len(typed)/3, 1) + 1
	for _, w := range words {
		lower := strings.ToLower(string(w))
		d := distance(typed, []rune(lower), least)
		if len(typed) >= 3 && strings.HasPrefix(lower, string(typed)) {
			d = min(d, 1)
		}
		if d < least {
			best, least = w, d
		}
	}
	return best
}

// DidYouMean returns a question about what Nearest finds, to be added to an error: `; did you mean "halt"?`. It returns "" if
// Nearest does.
func DidYouMean[S ~string](word string, words []S) string {
	if near := Nearest(word, words); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// distance returns the number of letters that must be added, removed or replaced, or of neighbours that must be swapped, to make b
// of a; or any number of at least most.
func distance(a, b []rune, most int) int {
	if max(len(a), len(b))-min(len(a), len(b)) >= most {
		return most
	}
	// before, last and row are rows of the table of the distances between the beginnings of a and b.
	var before, last, row []int
	for j := range len(b) + 1 {
		row = append(row, j)
	}
	for i, x := range a {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j, y := range b {
			row[j+1] = min(last[j+1], row[j]) + 1
			if x == y {
				row[j+1] = min(row[j+1], last[j])
			} else {
				row[j+1] = min(row[j+1], last[j]+1)
			}
			if i > 0 && j > 0 && x == b[j-1] && a[i-1] == y {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
