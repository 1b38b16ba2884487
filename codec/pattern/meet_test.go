package pattern

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed"
)

// Meet and Within say of two patterns what trying all short instruments says: Meet matches what both match, is false only if
// nothing matches both, and Within is true only if everything that one matches is matched by the other.
func TestMeetAgreesWithTryingAll(t *testing.T) {
	var texts []string // at most 3 letters
	for n, last := 0, []string{""}; n <= 3; n++ {
		texts = append(texts, last...)
		var next []string
		for _, s := range last {
			next = append(next, s+"a", s+"é")
		}
		last = next
	}
	var parts []string // at most 3 elements
	for n, last := 0, []string{""}; n <= 3; n++ {
		parts = append(parts, last...)
		var next []string
		for _, s := range last {
			next = append(next, s+"a", s+"é", s+"?", s+"*")
		}
		last = next
	}
	for _, a := range parts {
		for _, b := range parts {
			met, ok := meetParts(a, b)
			part, some, whole := within([]rune(a), []rune(b)), false, true
			for _, s := range texts {
				inA, inB := glob(a, s), glob(b, s)
				some = some || inA && inB
				whole = whole && (!inA || inB)
				if inA && inB {
					assert.Truef(t, ok && glob(met, s), "%s and %s match %q, %q does not", a, b, s, met)
				}
				if ok && glob(met, s) && !inA {
					t.Errorf("%s is the meet of %s and %s, and matches %q, which the first does not", met, a, b, s)
				}
			}
			if ok && !some && len(a) < 3 && len(b) < 3 { // a longer text may match both
				t.Errorf("%s and %s have the meet %s, and match no text", a, b, met)
			}
			if part && !whole {
				t.Errorf("%s is said to be within %s, and is not", a, b)
			}
		}
	}
	for _, test := range []struct{ a, b, want string }{
		{"ES*", "*@XCME", "ES*@XCME"},
		{"*@XCME", "ES*", "ES*@XCME"},
		{"AAPL", "A*", "AAPL"},
		{"A*", "AAPL", "AAPL"},
		{"AAPL@XNAS", "AAPL@*", "AAPL@XNAS"},
		{"A*", "*L", "A*"}, // as close as a pattern for each part comes
		{"AAPL", "ES*", ""},
		{"AAPL@XNAS", "AAPL@XNYS", ""},
		{"AAPL@", "AAPL", "AAPL@"},
	} {
		met, ok := Meet(test.a, test.b)
		assert.Equal(t, test.want != "", ok)
		if ok {
			assert.Equal(t, test.want, met)
		}
	}
	assert.True(t, Within("ES?6@XCME", "ES*"))
	assert.True(t, Within("ES*", "*@*"), "an instrument without a venue has an empty one")
	assert.False(t, Within("ES*", "*@XCME"))
	assert.False(t, Within("*", "?*@XCME"))
	assert.True(t, NewMatcher([]string{"?*"}).Match(&feed.Definition{Symbol: "A"}), "?* matches every instrument")
}
