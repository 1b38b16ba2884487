package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/survey"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/publisher/journal"
)

// showVerified reads all of f, verifying every checksum and decoding every packet, prints the result, and reports whether
// f is whole.
func (p *program) showVerified(ctx context.Context, o *inspectOptions, f *openRecording, out *lines, read *atomic.Int64) (bool, error) {
	r, err := f.Reader()
	if err != nil {
		return false, err
	}
	started := time.Now()
	v := verified{File: f.name, Bytes: f.Size(), Damages: []jsonDamage{}, Gone: []goneRange{}}
	batch := make([]feed.Tick, 256)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		item, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return false, err
		}
		read.Store(r.Offset())
		switch {
		case item.Kind == recording.KindPackets:
			v.Numbers += item.Range.Len()
			at := item.Offset
			for h, raw := range recording.Packets(item.Data) {
				v.packet(at, &h, raw, batch)
				at += int64(len(raw))
			}
		case item.Kind == recording.KindSnapshot && !item.Whole:
			v.damage(survey.Damage{Offset: item.Offset, Size: item.Size})
		case item.Kind == recording.KindDamage, item.Kind == recording.KindTorn:
			v.damage(survey.Damage{Offset: item.Offset, Size: item.Size, Missing: item.Range, Torn: item.Kind == recording.KindTorn})
		}
	}
	v.Seconds = time.Since(started).Seconds()
	v.Closed = r.Closed()
	v.Sound = len(v.Damages) == 0
	v.Complete = v.Sound && v.GoneNumbers == 0
	if o.json {
		out.json(v)
	} else {
		v.print(out)
	}
	return v.Complete, nil
}

// verifyJournals prints for each of paths that is the directory of a journal whether its files are all there, and returns how many
// journals are not whole. The error has its exit code.
func verifyJournals(ctx context.Context, paths []string, o *inspectOptions, out *lines) (bad int, err error) {
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			continue
		}
		cfg := journal.Config{Dir: path}
		if o.retained {
			cfg.RetainAge = time.Nanosecond // any
		}
		names, missing, err := journal.Files(ctx, cfg)
		if ctx.Err() != nil {
			return 0, errInterrupted
		} else if err != nil {
			return 0, wrong("%w", err)
		}
		if len(names) == 0 && len(missing) == 0 {
			continue // a directory of other recordings
		}
		v := verifiedJournal{Journal: path, Sound: len(missing) == 0, Files: len(names), Damages: []journalDamage{}}
		for _, d := range missing {
			v.Damages = append(v.Damages, journalDamage{d.File, d.Problem, damageOf(survey.Damage{Missing: d.Range}).Missing})
		}
		if !v.Sound {
			bad++
		}
		if o.json {
			out.json(v)
		} else {
			v.print(out, missing)
		}
	}
	return bad, out.flush()
}

// verifiedJournal is the result of --verify for all files of a journal together.
type verifiedJournal struct {
	Journal string          `json:"journal"`
	Sound   bool            `json:"sound"` // no file is missing or cannot be used
	Files   int             `json:"files"`
	Damages []journalDamage `json:"damages"`
}

// A journalDamage is a file that is not used, or numbers that are in no file.
type journalDamage struct {
	File    string      `json:"file"`
	Problem string      `json:"problem"`
	Missing *feed.Range `json:"missing,omitempty"`
}

// print prints the result for people.
func (v *verifiedJournal) print(out *lines, missing []journal.Damage) {
	if v.Sound {
		out.paintf(green, continued4, "%s: a journal of %s, none of them missing\n", oneLine(v.Journal), nouns.Count(v.Files, "file"))
		return
	}
	out.paintf(red, continued4, "%s: a journal, damaged in %s\n", oneLine(v.Journal), nouns.Count(len(missing), "place"))
	for _, d := range missing {
		out.printf("  %v\n", d)
		if d.Before {
			out.printf("  add --retained if a retention removed the first files\n")
		}
	}
}

// verified is the result of --verify.
type verified struct {
	File     string       `json:"file"`
	Sound    bool         `json:"sound"`    // no byte of the file is damaged
	Complete bool         `json:"complete"` // sound, and no number is gone
	Closed   bool         `json:"closed"`
	Bytes    int64        `json:"bytes"`
	Numbers  uint64       `json:"numbers"`
	Missing  uint64       `json:"missing"` // numbers lost to damage
	Damages  []jsonDamage `json:"damages"`
	More     int          `json:"more_damages,omitempty"`

	GoneNumbers uint64      `json:"gone"`
	Gone        []goneRange `json:"gone_ranges"`
	MoreGone    int         `json:"more_gone_ranges,omitempty"`
	NotAsked    uint64      `json:"not_asked"`
	Withheld    uint64      `json:"withheld"`
	Seconds     float64     `json:"seconds"`
}

// A goneRange is a range of numbers that the recording lists as gone, and the reason.
type goneRange struct {
	feed.Range
	Reason string
}

// MarshalJSON writes [from, to, "reason"].
func (g goneRange) MarshalJSON() ([]byte, error) { return json.Marshal([]any{g.From, g.To, g.Reason}) }

// packet adds the numbers without ticks of packet h, whose bytes raw begin at byte at of the file.
func (v *verified) packet(at int64, h *codec.Packet, raw []byte, batch []feed.Tick) {
	var l packetLine
	l.count(h, raw, batch)
	v.NotAsked += l.NotAsked
	v.Withheld += l.Withheld
	if l.Malformed != "" {
		d := survey.Damage{Offset: at, Size: int64(len(raw)), Missing: feed.Range{From: l.malformed, To: h.First + h.Count}}
		v.damage(d)
		v.Numbers -= d.Missing.Len()
		return
	}
	if l.Gone == 0 {
		return
	}
	v.GoneNumbers += l.Gone
	if k := len(v.Gone); k > 0 && v.MoreGone == 0 && v.Gone[k-1].To == h.First && v.Gone[k-1].Reason == l.Reason {
		v.Gone[k-1].To = h.First + h.Count
		return
	}
	if len(v.Gone) == survey.MaxDamages {
		v.MoreGone++
		return
	}
	v.Gone = append(v.Gone, goneRange{h.Range(), l.Reason})
}

func (v *verified) damage(d survey.Damage) {
	v.Missing += d.Missing.Len()
	if len(v.Damages) == survey.MaxDamages {
		v.More++
		return
	}
	v.Damages = append(v.Damages, damageOf(d))
}

// print prints the result for people.
func (v *verified) print(out *lines) {
	closed := "closed in order"
	if !v.Closed {
		closed = notClosed
	}
	numbers, without := nouns.Thousands(v.Numbers)+" numbers", []string(nil)
	for _, x := range []struct {
		n    uint64
		what string
	}{{v.NotAsked, "not asked for"}, {v.Withheld, "withheld by the recorder's own policy"}} {
		if x.n > 0 {
			without = append(without, nouns.Thousands(x.n)+" of them "+x.what)
		}
	}
	if len(without) > 0 {
		numbers += " (" + strings.Join(without, ", ") + ")"
	}
	rest := fmt.Sprintf("%s in %s, all checksums hold (%s/s)", numbers, formatBytes(v.Bytes), formatBytes(int64(float64(v.Bytes)/max(v.Seconds, 1e-9))))
	switch {
	case v.Complete:
		out.paintf(green, continued4, "%s: sound, %s; %s\n", oneLine(v.File), closed, rest)
		return
	case v.Sound:
		out.paintf(red, continued4, "%s: not whole, %s; %s; %s\n", oneLine(v.File), nouns.Are(v.GoneNumbers, "number", "gone"), closed, rest)
	default:
		gone := ""
		if v.GoneNumbers > 0 {
			gone = ", " + nouns.Are(v.GoneNumbers, "number", "gone")
		}
		out.paintf(red, continued4, "%s: damaged in %s, %s%s; %s\n", oneLine(v.File), nouns.Count(len(v.Damages)+v.More, "place"), nouns.Are(v.Missing, "number", "missing"), gone, closed)
	}
	for _, d := range v.Damages {
		out.printf("  %s\n", d)
	}
	if v.More > 0 {
		out.printf("  and %s more\n", nouns.Count(v.More, "place"))
	}
	for _, g := range v.Gone {
		out.printf("  numbers %v are gone: %s\n", g.Range, goneReason(g.Reason))
	}
	if v.MoreGone > 0 {
		out.printf("  and %s more\n", nouns.Count(v.MoreGone, "range"))
	}
}

// goneReason explains the name of a reason in a recording.
func goneReason(name string) string {
	switch name {
	case codec.GoneExpired.String():
		return "the publisher no longer had them"
	case codec.GoneDenied.String():
		return "the recorder's user may not see the past that they are in"
	case codec.GoneDamaged.String():
		return "they were damaged, or missing, in what this was made of"
	}
	return name
}

// jsonDamage is the printed form of a damage.
type jsonDamage struct {
	Offset  int64       `json:"offset"`
	Bytes   int64       `json:"bytes"`
	Missing *feed.Range `json:"missing,omitempty"`
	Torn    bool        `json:"torn,omitempty"`
}

func damageOf(d survey.Damage) jsonDamage {
	out := jsonDamage{Offset: d.Offset, Bytes: d.Size, Torn: d.Torn}
	if !d.Missing.Empty() {
		out.Missing = &d.Missing
	}
	return out
}

func (d jsonDamage) String() string {
	text := fmt.Sprintf("%s at byte %d", nouns.Count(d.Bytes, "byte"), d.Offset)
	if d.Bytes == 0 {
		text = fmt.Sprintf("packets are absent at byte %d", d.Offset)
	}
	if d.Torn {
		text += ", a torn end"
	}
	if d.Missing != nil {
		text += fmt.Sprintf(": numbers %v are missing", *d.Missing)
	}
	return text
}
