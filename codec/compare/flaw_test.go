package compare_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/compare"
)

// Lines whose numbers go back differ from what a subscriber prints, except if it is another session that begins lower, if the
// numbers were disowned, if another run begins, or if the numbers came before. Numbers that come later are no holes.
func TestLinesOutOfOrder(t *testing.T) {
	for _, test := range []struct {
		name, a, b, want string
		cfg              compare.Config
		differs          bool
	}{
		{name: "two swapped", a: "1-10", b: "connected:1 1-4 5 4 6-10 left:10/9,0", want: "same 9: 4 after 5 in line 6", differs: true},
		{name: "two swapped, which is permitted", a: "1-10", b: "connected:1 1-4 5 4 6-10 left:10/9,0", cfg: compare.Config{AnyOrder: true}, want: "same 9"},
		{name: "repeats do not permit it", a: "1-10", b: "1-4 5 4 6-10", cfg: compare.Config{AllowRepeats: true}, want: "same 9: 4 after 5 in line 5", differs: true},
		{name: "reversed", a: "1-4", b: "connected:1 3 2 1 left:4/3,0", want: "same 3: 1 after 3 in line 4, 2 after 3 in line 3", differs: true},
		{name: "with a filter", a: "1-10", b: "connected:1 7 2 left:10/2,7", want: "same 2; B not asked [1, 2) [3, 7) [8, 10): 2 after 7 in line 3", differs: true},
		{name: "in the middle of a hole", a: "1-10", b: "connected:1 8 3 5 left:10/3,6", want: "same 3; B not asked [1, 3) [4, 5) [6, 8) [9, 10): 3 after 8 in line 3, 5 after 8 in line 4", differs: true},
		{name: "killed, and continued earlier", a: "1-10", b: "1-6 3-10", cfg: compare.Config{AllowRepeats: true}, want: "same 9; B repeats 3, 0 of them differently"},
		{name: "another run", a: "1-10", b: "connected:5 5-10 left:10/5,4 connected:1 1-5 left:5/4,0", want: "same 9"},
		{name: "a child that begins earlier", a: "1-4 b4-10", b: "connected:1 1-6 cut rewound:b4 disowned:4-6 b4-10 left:b10/8,0,0,0,2", want: "same 9"},
		{name: "disowned afterwards", a: "1-4 b4-6", b: "connected:1 1-4 5 4 disowned:4-6 b4-6 left:b6/7,0,0,0,2", want: "same 5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.Show = 2
			r, err := compare.Compare(t.Context(), linesOf(script(t, test.a)), linesOf(script(t, test.b)), test.cfg)
			require.NoError(t, err)
			got := strings.NewReplacer(fmt.Sprintf("; %x: ", uint64(childID)), "; b: ").Replace(summary(r))
			var flaws []string
			for _, f := range r.Parties[1].Flaws {
				assert.Equal(t, compare.Misplaced, f.Kind)
				assert.Contains(t, f.Texts[0], "AAPL@XNAS")
				flaws = append(flaws, fmt.Sprintf("%d after %d in line %d", f.Seq, f.After, f.Lines[0]))
			}
			if len(flaws) > 0 {
				got += ": " + strings.Join(flaws, ", ")
			}
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.differs, r.Differs())
			assert.False(t, r.Parties[1].Unexplained)
		})
	}
}

// The first numbers that a party has twice are listed with both ticks and their lines: those that contradict each other first, and
// the others only if they are not permitted.
func TestRepeatedTicksAreListed(t *testing.T) {
	line := func(seq int, price string) string { return fmt.Sprintf(trade, seq, price) }
	a := linesOf(line(1, "1") + line(2, "2") + line(3, "3"))
	b := linesOf(line(1, "1") + line(1, "1") + line(2, "2") + line(3, "3") + line(2, "2") + line(3, "3") + line(3, "4") + line(3, "5"))
	for _, test := range []struct {
		cfg  compare.Config
		want string
	}{
		{compare.Config{Show: 2}, "3 contradicted price=3 in line 4, price=4 in line 7; 1 repeated price=1 in line 1, price=1 in line 2; 2 repeated price=2 in line 3, price=2 in line 5"},
		{compare.Config{AllowRepeats: true}, "3 contradicted price=3 in line 4, price=4 in line 7"},
	} {
		r, err := compare.Compare(t.Context(), a, b, test.cfg)
		require.NoError(t, err)
		var flaws []string
		for _, f := range r.Parties[1].Flaws {
			var ticks []string
			for i, text := range f.Texts {
				_, price, _ := strings.Cut(text, "price=")
				price, _, _ = strings.Cut(price, " ")
				ticks = append(ticks, fmt.Sprintf("price=%s in line %d", price, f.Lines[i]))
			}
			flaws = append(flaws, fmt.Sprintf("%d %v %s", f.Seq, f.Kind, strings.Join(ticks, ", ")))
		}
		assert.Equal(t, test.want, strings.Join(flaws, "; "))
		assert.True(t, r.Differs())
	}
}
