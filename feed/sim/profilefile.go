package sim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"tickfeed/feed/decimal"
	"tickfeed/feed/yamlfile"
)

// MaxProfileFile bounds the file of a profile, in bytes.
const MaxProfileFile = 64 << 20

// The fields of a profile and of its instruments, in the order in which they are written. An instrument also has those of a
// universe.
var (
	profileFields = []string{"source", "start", "day_length", "rate", "shape", "volatility_shape", "together", "clusters", "instruments"}
	habitFields   = []string{
		"spreads", "queues", "trades", "correlation", "lean", "orders", "follow", "fills", "memory", "foresight", "impact", "deep", "depth",
	}
)

// ProfileHelp describes the fields, as comments that a profile file begins with.
const ProfileHelp = `# A profile: the habits of a market, for tickfeed publish --profile and tickfeed sim --profile.
# It may be edited. What is left out is what is usual in a market without a profile.
#   start, day_length  when the market opens on the first day, and for how long
#   rate               events a second, on average over the day: an event is a new quote or an order that trades
#   shape              events by equal parts of the day, relative to each other; empty for a flat day
#   volatility_shape   variance of returns by equal parts of the day, relative to each other
#   together           share of the events at the same time as the one before
#   clusters           the others cause further events: how many on average, and within which mean time; three, the fastest first
#   instruments        the most active one first. Each has the fields of a universe (see --print-universe; spread and
#                      spreads are in ticks, volatility is that of a day of day_length), and:
#     spreads          distribution of the spread that quotes aim at, in ticks
#     queues, trades   distributions of the sizes of quotes and of trades
#                      Distributions are their values at 0, 1, 2.5, 5, 10, 15 and so on to 90, 95, 97.5, 99, 99.5, 99.9 and 100 %.
#     correlation      of the sizes of bid and ask
#     lean             how strongly the sizes of a quote show where the price is going: 0 to 3
#     orders           share of the events that trade
#     follow           share of the events after such an event that trade as well
#     fills            trades of such an event, on average
#     memory           how long the sides of orders last: they are parts of parent orders, whose lengths have a Pareto distribution
#                      with an exponent, up to the longest; strays is the share of orders that leave the side of their parent;
#                      half of the parent orders end in a pause as long as the patience
#     foresight        how much of the side of the next order the price has already answered, by a fast and a slow average
#     impact           move of the price by an order that surprises, in usual spreads
#     deep             with --depth: share of the events without a trade that change only levels behind the best
#     depth            mean size by level, as a multiple of that of the first one
`

// AppendYAML appends p as YAML, from which ParseProfile makes a profile with the same ticks.
func (p *Profile) AppendYAML(dst []byte) []byte {
	dst = append(dst, ProfileHelp...)
	if p.Source != "" {
		dst = fmt.Appendf(dst, "source: %s\n", strconv.Quote(p.Source))
	}
	dst = fmt.Appendf(dst, "start: %s\nday_length: %s\nrate: %s\n", p.Start.Format(time.RFC3339), p.DayLength, number(p.Rate))
	if len(p.Shape) > 0 {
		dst = fmt.Appendf(dst, "shape: %s\n", numbers(p.Shape))
	}
	if len(p.Volatility) > 0 {
		dst = fmt.Appendf(dst, "volatility_shape: %s\n", numbers(p.Volatility))
	}
	dst = fmt.Appendf(dst, "together: %s\nclusters:\n", number(p.Together))
	for _, c := range p.Clusters {
		dst = fmt.Appendf(dst, "  - {causes: %s, within: %s}\n", number(c.Causes), duration(c.Within))
	}
	dst = append(dst, "instruments:\n"...)
	for i := range p.Instruments {
		dst = p.Instruments[i].appendYAML(dst)
	}
	return dst
}

// appendYAML appends h as an item of the list of instruments.
func (h *Habits) appendYAML(dst []byte) []byte {
	l, _ := h.listing() // its hours are written as they are
	dst = l.appendYAML(dst)
	field := func(name, value string) { dst = fmt.Appendf(dst, "    %s: %s\n", name, value) }
	sizes := func(name string, values []float64) {
		if len(values) == 0 {
			return
		}
		text := make([]string, len(values))
		for i, v := range values {
			text[i] = string(decimal.Append(nil, int64(math.Round(v)), h.Definition.SizeExponent))
		}
		field(name, "["+strings.Join(text, ", ")+"]")
	}
	known := func(name string, v float64) {
		if v != 0 {
			field(name, number(v))
		}
	}
	if len(h.Spreads) > 0 {
		field("spreads", numbers(h.Spreads))
	}
	sizes("queues", h.Queues)
	sizes("trades", h.Trades)
	known("correlation", h.Correlation)
	known("lean", h.Lean)
	known("orders", h.Orders)
	known("follow", h.Follow)
	known("fills", h.Fills)
	if h.Memory != (Memory{}) {
		field("memory", fmt.Sprintf("{exponent: %s, longest: %d, strays: %s, patience: %s}", number(h.Memory.Exponent), h.Memory.Longest, number(h.Memory.Strays), duration(h.Memory.Patience)))
		field("foresight", numbers(h.Foresight[:]))
	}
	known("impact", h.Impact)
	known("deep", h.Deep)
	if len(h.Depth) > 0 {
		field("depth", numbers(h.Depth))
	}
	return dst
}

func duration(d time.Duration) string { return strings.ReplaceAll(d.String(), "µ", "u") }

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func numbers(values []float64) string {
	text := make([]string, len(values))
	for i, v := range values {
		text[i] = number(v)
	}
	return "[" + strings.Join(text, ", ") + "]"
}

// ParseProfile reads a profile from YAML. name is for errors, which are of type *UniverseError; if there are several mistakes, the
// error joins the first maxErrors, and says where there are more.
func ParseProfile(name string, text []byte) (*Profile, error) {
	p, err := parseProfile(text)
	wrong := mistakes{file: name}
	wrong.add(err)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return p, nil
}

func parseProfile(text []byte) (*Profile, error) {
	root, err := parseYAML(text, "rate: 100")
	if err != nil {
		return nil, err
	}
	if root == nil || root.Kind != yaml.MappingNode {
		return nil, &UniverseError{Line: 1, Column: 1, Text: "want a profile, as tickfeed sim fit writes it: rate: 100, clusters: and so on"}
	}
	fields, err := mapping(root, profileFields)
	p := &Profile{Clusters: UsualClusters}
	for _, step := range []func() error{
		func() (err error) { p.Source, err = fields.text("source"); return },
		func() (err error) { p.Start, err = fields.time("start"); return },
		func() (err error) { p.DayLength, err = fields.duration("day_length"); return },
		func() (err error) { p.Rate, err = fields.number("rate"); return },
		func() (err error) { p.Shape, err = fields.numbers("shape"); return },
		func() (err error) { p.Volatility, err = fields.numbers("volatility_shape"); return },
		func() (err error) { p.Together, err = fields.number("together"); return },
		func() error { return fields.clusters(p) },
		func() error { return fields.instruments(p) },
	} {
		err = errors.Join(err, step())
	}
	return p, errors.Join(err, fields.place(root, p.check(), err))
}

// parseYAML returns the root of a document, nil if it is empty. example is one of its fields, for errors.
func parseYAML(text []byte, example string) (*yaml.Node, error) {
	root, err := yamlfile.Parse(text, example)
	var wrong *yamlfile.Error
	if errors.As(err, &wrong) {
		return nil, &UniverseError{Line: wrong.Line, Column: 1, Text: wrong.Text}
	}
	return root, err
}

// nodes are the values of a mapping by their keys.
type nodes map[string]*yaml.Node

// mapping returns the values of n, whose keys must be among allowed. The error joins all mistakes.
func mapping(n *yaml.Node, allowed []string) (out nodes, wrong error) {
	if n.Kind != yaml.MappingNode {
		return nil, nodeError(n, "", fmt.Sprintf("want fields, such as %s: VALUE, one on a line; the fields are %s", allowed[0], strings.Join(allowed, ", ")))
	}
	out = make(nodes, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		switch _, twice := out[key.Value]; {
		case !slices.Contains(allowed, key.Value):
			wrong = errors.Join(wrong, nodeError(key, "", noField(key.Value, allowed)))
		case twice:
			wrong = errors.Join(wrong, nodeError(key, key.Value, "it is there twice"))
		default:
			out[key.Value] = n.Content[i+1]
		}
	}
	return out, wrong
}

// place returns err, which is nil, a *fieldError, or joins some, with the places of the fields, or of n for a field that is not there.
// It leaves out the fields that earlier already reports and, since another mistake may be their cause, those that are not there.
func (f nodes) place(n *yaml.Node, err, earlier error) (placed error) {
	known := make(map[string]bool)
	for _, e := range flattened(earlier) {
		var wrong *UniverseError
		if errors.As(e, &wrong) {
			known[wrong.Field] = true
		}
	}
	for _, e := range flattened(err) {
		var wrong *fieldError
		if !errors.As(e, &wrong) {
			placed = errors.Join(placed, e)
			continue
		}
		at, there := f[wrong.field]
		if !there {
			at = n
		}
		if !known[wrong.field] && (there || earlier == nil) {
			placed = errors.Join(placed, nodeError(at, wrong.field, wrong.text))
		}
	}
	return placed
}

// text returns the value of a field, "" if it is not there.
func (f nodes) text(field string) (string, error) {
	n, ok := f[field]
	switch {
	case !ok || n.Tag == "!!null":
		return "", nil
	case n.Kind != yaml.ScalarNode:
		return "", nodeError(n, field, "want one value")
	}
	return n.Value, nil
}

func (f nodes) time(field string) (time.Time, error) {
	text, err := f.text(field)
	if err != nil || text == "" {
		return time.Date(2026, 1, 5, 14, 30, 0, 0, time.UTC), err
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, nodeError(f[field], field, fmt.Sprintf("want a time such as 2026-01-05T14:30:00Z, got %q", text))
	}
	return at, nil
}

func (f nodes) duration(field string) (time.Duration, error) {
	text, err := f.text(field)
	if err != nil || text == "" {
		return 6*time.Hour + 30*time.Minute, err
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return d, nodeError(f[field], field, fmt.Sprintf("want a duration such as 6h30m or 200us, got %q", text))
	}
	return d, nil
}

// number returns the value of a field, 0 if it is not there.
func (f nodes) number(field string) (float64, error) {
	text, err := f.text(field)
	if err != nil || text == "" {
		return 0, err
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, nodeError(f[field], field, fmt.Sprintf("want a number, got %q", text))
	}
	return v, nil
}

// list returns the texts of a list, none if it is not there.
func (f nodes) list(field string) ([]*yaml.Node, error) {
	n, ok := f[field]
	switch {
	case !ok || n.Tag == "!!null":
		return nil, nil
	case n.Kind != yaml.SequenceNode:
		return nil, nodeError(n, field, "want a list, such as [1, 2, 3]")
	}
	return n.Content, nil
}

// numbers returns the values of a list, nil if it is not there.
func (f nodes) numbers(field string) ([]float64, error) {
	list, err := f.list(field)
	var out []float64
	for _, n := range list {
		v, err := strconv.ParseFloat(n.Value, 64)
		if n.Kind != yaml.ScalarNode || err != nil {
			return nil, nodeError(n, field, fmt.Sprintf("want numbers, got %q", n.Value))
		}
		out = append(out, v)
	}
	return out, err
}

// sizes returns the values of a list in units of 10^exponent, nil if it is not there.
func (f nodes) sizes(field string, exponent int8) ([]float64, error) {
	list, err := f.list(field)
	var out []float64
	for _, n := range list {
		v, err := decimal.Parse(n.Value, exponent)
		switch {
		case n.Kind != yaml.ScalarNode || err != nil && !errors.Is(err, decimal.ErrInexact):
			return nil, nodeError(n, field, fmt.Sprintf("want decimal numbers, got %q", n.Value))
		case err != nil:
			return nil, nodeError(n, field, fmt.Sprintf("%s has more decimals than the lot", n.Value))
		}
		out = append(out, float64(v))
	}
	return out, err
}

func (f nodes) clusters(p *Profile) (wrong error) {
	list, err := f.list("clusters")
	if err != nil || list == nil {
		return err
	}
	if len(list) != len(p.Clusters) {
		return nodeError(f["clusters"], "clusters", fmt.Sprintf("want %d, got %d", len(p.Clusters), len(list)))
	}
	for i, n := range list {
		c, err := mapping(n, []string{"causes", "within"})
		causes, err1 := c.number("causes")
		within, err2 := c.duration("within")
		if err := errors.Join(err, err1, err2); err != nil {
			wrong = errors.Join(wrong, err)
			continue
		}
		p.Clusters[i] = Cluster{causes, within}
	}
	return wrong
}

func (f nodes) instruments(p *Profile) error {
	list, wrong := f.list("instruments")
	names := make(map[string]int, len(list))
	for i, n := range list {
		h, err := parseHabits(n, i)
		wrong = errors.Join(wrong, err)
		if len(flattened(wrong)) > maxErrors {
			break
		}
		p.Instruments = append(p.Instruments, *h)
		name := h.Definition.Name()
		if err != nil {
			continue
		}
		if line := names[name]; line > 0 {
			wrong = errors.Join(wrong, nodeError(n, "symbol", fmt.Sprintf("%s is already there, in line %d", name, line)))
		}
		names[name] = n.Line
	}
	return wrong
}

// parseHabits reads the instrument at place i. The error joins all mistakes.
func parseHabits(n *yaml.Node, i int) (*Habits, error) {
	fields, wrong := mapping(n, slices.Concat(universeFields, habitFields))
	fail := func(err error) { wrong = errors.Join(wrong, err) }
	r := row{n.Line, n.Column, make(map[string]cell)}
	for _, name := range universeFields {
		if value, ok := fields[name]; ok {
			text, err := fields.text(name)
			fail(err)
			r.fields[name] = cell{strings.TrimSpace(text), value.Line, value.Column}
		}
	}
	l, unlisted := r.listing(i)
	h := &Habits{Entry: entryOf(&l)}
	if unlisted == nil && h.Activity <= 0 {
		unlisted = r.wrong("activity", "want a number greater than 0, got %v", h.Activity)
	}
	if fields != nil { // otherwise n is no instrument
		fail(unlisted)
	}
	var err error
	for _, f := range []struct {
		name string
		v    *float64
	}{
		{"correlation", &h.Correlation}, {"lean", &h.Lean}, {"orders", &h.Orders}, {"follow", &h.Follow}, {"fills", &h.Fills}, {"impact", &h.Impact}, {"deep", &h.Deep},
	} {
		*f.v, err = fields.number(f.name)
		fail(err)
	}
	h.Spreads, err = fields.numbers("spreads")
	fail(err)
	if unlisted == nil { // otherwise the units of sizes are not known
		h.Queues, err = fields.sizes("queues", h.Definition.SizeExponent)
		fail(err)
		h.Trades, err = fields.sizes("trades", h.Definition.SizeExponent)
		fail(err)
	}
	h.Depth, err = fields.numbers("depth")
	fail(err)
	fail(fields.memory(h))
	if unlisted == nil {
		fail(fields.place(n, h.check(), wrong))
	}
	return h, wrong
}

// memory reads the memory of the sides, and the foresight that goes with it. The error joins all mistakes.
func (f nodes) memory(h *Habits) error {
	n, ok := f["memory"]
	if !ok {
		if at, ok := f["foresight"]; ok {
			return nodeError(at, "foresight", "it is for a memory, which is not there")
		}
		return nil
	}
	m, wrong := mapping(n, []string{"exponent", "longest", "strays", "patience"})
	var longest float64
	for _, v := range []struct {
		name string
		v    *float64
	}{{"exponent", &h.Memory.Exponent}, {"longest", &longest}, {"strays", &h.Memory.Strays}} {
		var err error
		*v.v, err = m.number(v.name)
		wrong = errors.Join(wrong, err)
	}
	h.Memory.Longest = int(min(max(longest, 0), 1e6))
	if _, ok := m["patience"]; ok {
		var err error
		h.Memory.Patience, err = m.duration("patience")
		wrong = errors.Join(wrong, err)
	}
	if wrong != nil {
		h.Memory = Memory{} // so that check reports nothing about it
		return wrong
	}
	if h.Memory == (Memory{}) {
		return nodeError(n, "memory", "want {exponent: 1.3, longest: 150, strays: 0.08, patience: 1s}")
	}
	foresight, err := f.numbers("foresight")
	if err != nil || foresight == nil {
		return err
	}
	if len(foresight) != len(h.Foresight) {
		return nodeError(f["foresight"], "foresight", fmt.Sprintf("want %d numbers, got %d", len(h.Foresight), len(foresight)))
	}
	copy(h.Foresight[:], foresight)
	return nil
}
