package ops_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A vector is the names of the labels that each series of an expression of PromQL has; nil for a number.
type vector map[string]bool

// A promql reads an expression of the part of PromQL that the alerts and the dashboard use.
type promql struct {
	words []string // what is left
	known map[string][]string
}

var promqlWord = regexp.MustCompile(`\{[^}]*\}|\[[^\]]*\]|[a-z_]+|[0-9.]+|==|!=|>=|<=|[-+*/<>(),]`)

// vectorOf returns the labels of expr, whose metrics are those of known.
func vectorOf(known map[string][]string, expr string) (v vector, err error) {
	q := promql{promqlWord.FindAllString(expr, -1), known}
	defer func() {
		if r := recover(); r != nil {
			v, err = nil, fmt.Errorf("%v; rest: %s", r, strings.Join(q.words, " "))
		}
	}()
	v = q.binary(0)
	if len(q.words) > 0 {
		panic("the end is missing")
	}
	return v, nil
}

func (q *promql) next() string {
	if len(q.words) == 0 {
		panic("something is missing at the end")
	}
	w := q.words[0]
	q.words = q.words[1:]
	return w
}

func (q *promql) accept(words ...string) bool {
	if len(q.words) == 0 || !slices.Contains(words, q.words[0]) {
		return false
	}
	q.words = q.words[1:]
	return true
}

func (q *promql) want(word string) {
	if got := q.next(); got != word {
		panic(fmt.Sprintf("want %s, got %s", word, got))
	}
}

// names reads names of labels in parentheses.
func (q *promql) names() (names []string) {
	q.want("(")
	for !q.accept(")") {
		names = append(names, q.next())
		q.accept(",")
	}
	return names
}

// operators are the binary operators, those that bind least first.
var operators = [][]string{{"or"}, {"and", "unless"}, {"==", "!=", "<=", "<", ">=", ">"}, {"+", "-"}, {"*", "/"}}

// binary reads operands joined by operators of this level and those that bind more.
func (q *promql) binary(level int) vector {
	if level == len(operators) {
		return q.operand()
	}
	left := q.binary(level + 1)
	for len(q.words) > 0 && slices.Contains(operators[level], q.words[0]) {
		operator, by, names := q.next(), "", []string(nil)
		if q.accept("on") {
			by, names = "on", q.names()
		} else if q.accept("ignoring") {
			by, names = "ignoring", q.names()
		}
		left = join(operator, by, names, left, q.binary(level+1))
	}
	return left
}

// join returns the labels of left and right joined by operator.
func join(operator, by string, names []string, left, right vector) vector {
	if left == nil {
		return right
	}
	if right == nil {
		return left
	}
	matched := func(v vector) []string {
		return slices.DeleteFunc(slices.Sorted(maps.Keys(v)), func(label string) bool {
			return by != "" && slices.Contains(names, label) != (by == "on")
		})
	}
	l, r := matched(left), matched(right)
	if !slices.Equal(l, r) {
		panic(fmt.Sprintf("the labels are %v before %s, and %v after it", l, operator, r))
	}
	if operator == "and" || operator == "unless" || operator == "or" {
		return left
	}
	joined := vector{}
	for _, label := range l {
		joined[label] = true
	}
	return joined
}

// operand reads a number, a metric, a call, an aggregation or an expression in parentheses.
func (q *promql) operand() vector {
	word := q.next()
	switch {
	case word == "(":
		v := q.binary(0)
		q.want(")")
		return v
	case word[0] >= '0' && word[0] <= '9':
		return nil
	case word == "sum" || word == "min" || word == "max":
		q.want("by")
		by := vector{}
		for _, name := range q.names() {
			by[name] = true
		}
		q.want("(")
		of := q.binary(0)
		q.want(")")
		for name := range by {
			if !of[name] {
				panic("what is aggregated does not have the label " + name)
			}
		}
		return by
	case q.accept("("):
		var of vector
		for !q.accept(")") {
			of = q.binary(0)
			q.accept(",")
		}
		if word == "histogram_quantile" {
			delete(of, "le")
		}
		return of
	}
	series, ok := q.known[word]
	if !ok {
		panic("there is no metric " + word)
	}
	if len(q.words) > 0 && q.words[0][0] == '{' {
		q.next()
	}
	if len(q.words) > 0 && q.words[0][0] == '[' {
		q.next()
	}
	v := vector{"instance": true, "job": true} // Prometheus adds these
	for _, m := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(series[0], -1) {
		v[m[1]] = true
	}
	return v
}

// The check of the alerts finds what makes them silent.
func TestVectorOf(t *testing.T) {
	known := map[string][]string{"a": {`x="1"`}, "b": {""}, "c": {`x="2"`}}
	for expr, wrong := range map[string]string{
		"a": "", "a > 1": "", "a + c": "", "0.1 * b > 2 and b >= 10": "", "sum by (x) (rate(a{x=\"1\"}[5m])) > 2": "",
		"a > ignoring (x) 0.1 * b and ignoring (x) b >= 10": "", "a and on (instance) b == 0": "",
		"a > 0.1 * b":               "the labels are [instance job x] before >, and [instance job] after it",
		"a > ignoring (x) b and a":  "the labels are [instance job] before and, and [instance job x] after it",
		"sum by (instance) (a) > a": "the labels are [instance] before >, and [instance job x] after it",
		"sum by (y) (a)":            "what is aggregated does not have the label y",
		"rate(d[5m])":               "there is no metric d",
		"(a":                        "something is missing at the end",
		"a)":                        "the end is missing",
	} {
		if _, err := vectorOf(known, expr); wrong == "" {
			assert.NoError(t, err, expr)
		} else {
			assert.ErrorContains(t, err, wrong, expr)
		}
	}
}
