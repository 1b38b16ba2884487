package files

import (
	"errors"
	"fmt"
	"time"

	"tickfeed/feed/files/leanfx"
	"tickfeed/feed/files/lobster"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/files/wscap"
)

// Stats counts what a Source has read, in the same terms for all formats.
type Stats struct {
	Messages int64 // rows, lines, records or messages: see Source.Noun
	Ticks    int64 // ticks returned, including definitions
	Skipped  int64 // damaged parts that were skipped
	FirstBad error // the first damaged part; nil if there is none
	// Counts are other counts that are not 0: gaps, duplicates and so on.
	Counts []Count
	Notes  []string // descriptions of the first gaps, resets and the like
}

// twoClocks is the least difference between the clocks of a capture that is noted.
const twoClocks = 100 * time.Millisecond

// A Count is a named count.
type Count struct {
	Name string // in the plural, in lower case: "voided trades"
	N    int64
}

// counts returns the counts that are not 0.
func counts(all ...Count) []Count {
	var some []Count
	for _, c := range all {
		if c.N != 0 {
			some = append(some, c)
		}
	}
	return some
}

func rawStats(st rawfile.Stats) Stats {
	s := Stats{Messages: st.Messages, Ticks: st.Ticks, Skipped: st.Skipped, Notes: st.Notes}
	if st.FirstBad != nil {
		s.FirstBad = st.FirstBad
	}
	s.Counts = counts(
		Count{"packets", st.Packets}, Count{"foreign packets", st.Foreign},
		Count{"messages without ticks", st.Ignored},
		Count{"gaps", st.Gaps}, Count{"missing messages", st.Missing},
		Count{"duplicates", st.Duplicates}, Count{"resets", st.Resets},
		Count{"unknown orders or trades", st.Unknown},
	)
	return s
}

func textStats(st textfile.Stats) Stats {
	s := Stats{Messages: st.Rows, Ticks: st.Ticks, Skipped: st.Skipped, Notes: st.Notes}
	if st.FirstBad != nil {
		s.FirstBad = st.FirstBad
	}
	s.Counts = counts(Count{"voided trades", st.Voided}, Count{"voided quotes", st.VoidedQuotes}, Count{"rows of snapshots", st.Snapshot},
		Count{"duplicates", st.Duplicates},
		Count{"numbers rounded that a float had left digits behind", st.Rounded})
	for _, u := range st.Unread {
		s.Counts = append(s.Counts, Count{u.What + " passed over", u.Rows})
	}
	return s
}

func lobsterStats(st lobster.Stats) Stats {
	s := Stats{Messages: st.Messages, Ticks: st.Ticks, Skipped: st.Skipped, Notes: st.Notes}
	if st.FirstBad != nil {
		s.FirstBad = st.FirstBad
	}
	s.Counts = counts(
		Count{"hidden trades", st.Hidden}, Count{"halts", st.Halts}, Count{"rows back in time", st.Backward},
	)
	return s
}

func leanStats(st leanfx.Stats) Stats {
	s := Stats{Messages: st.Rows, Ticks: st.Ticks, Skipped: st.Skipped}
	if st.FirstBad != nil {
		s.FirstBad = st.FirstBad
	}
	s.Counts = counts(
		Count{"locked quotes", st.Locked}, Count{"crossed quotes", st.Crossed}, Count{"rows back in time", st.Backward},
	)
	return s
}

func websocketStats(st wscap.Stats) Stats {
	s := Stats{Messages: st.Lines, Ticks: st.Ticks, Skipped: st.Skipped, Notes: st.Reports}
	if st.FirstBad != nil {
		s.FirstBad = st.FirstBad
	}
	s.Counts = counts(
		Count{"lines of the recorder", st.Control}, Count{"messages without ticks", st.Other},
		Count{"repeated messages", st.Repeated},
		Count{"updates of books without a snapshot", st.Unanchored}, Count{"snapshots that fit no instrument", st.Unplaced},
		Count{"gaps", st.Gaps}, Count{"resets", st.Resets},
	)
	if st.SkewMin <= st.SkewMax && (st.SkewMin != 0 || st.SkewMax != 0) {
		unit := time.Millisecond
		if max(-st.SkewMin, st.SkewMax) < int64(10*time.Millisecond) {
			unit = time.Microsecond
		}
		s.Notes = append(s.Notes[:len(s.Notes):len(s.Notes)], fmt.Sprintf("the exchange's times are %v to %v after the recorder's",
			time.Duration(st.SkewMin).Round(unit), time.Duration(st.SkewMax).Round(unit)))
		if st.Arrived > 0 && max(-st.SkewMin, st.SkewMax) >= int64(twoClocks) {
			s.Notes = append(s.Notes, fmt.Sprintf("%d quotes without a time of the exchange have the recorder's, beside ticks on the exchange's clock:"+
				" --arrival-times puts all on the recorder's", st.Arrived))
		}
	}
	return s
}

// Damaged reports whether err, from Open or a Source, is about the content of a file rather than
// about access to it.
func Damaged(err error) bool {
	var damage *rawfile.DamageError
	var format *rawfile.FormatError
	var line *rawfile.LineError
	var row *textfile.LineError
	return errors.As(err, &damage) || errors.As(err, &format) || errors.As(err, &line) || errors.As(err, &row)
}

// Skippable reports whether a greater Config.SkipBad would skip the part that err is about.
func Skippable(err error) bool {
	var format *rawfile.FormatError
	var damage *rawfile.DamageError
	var row *textfile.LineError
	switch {
	case errors.As(err, &format), errors.Is(err, textfile.ErrNoZone), errors.As(err, &row) && row.Line <= 1: // the header
		return false
	case errors.As(err, &damage):
		return damage.Passed()
	}
	return Damaged(err)
}
