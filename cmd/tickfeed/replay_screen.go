package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/publisher/replay"
)

// screenEvery is the interval at which the status line of a terminal is updated.
const screenEvery = 200 * time.Millisecond

func (s *replaying) sayStart(session feed.Session) {
	of := ""
	if s.origin != 0 {
		of = fmt.Sprintf(" of %v", s.origin)
	}
	s.say("session", fmt.Sprintf("session %v, a replay%s, from seq %d: %s", session.ID, of, session.First, strings.Join(s.names, " ")),
		"session", session.ID.String(), "origin", s.origin.String(), "first", session.First, "files", s.names)
	st := s.player.Status()
	text := fmt.Sprintf("recorded from %s, speed %v", s.clock(st.First), st.Speed)
	switch {
	case s.o.waitFor > 0:
		text += ", waiting for " + nouns.Count(s.o.waitFor, "subscriber")
	case s.o.paused:
		text += ", paused"
	case s.o.startAt != "":
		text += ", waiting for " + s.startAt.Format("2006-01-02 15:04:05.999 MST")
	}
	s.say("recording", text, "recording_start", st.First, "speed", st.Speed.String(), "state", string(st.State))
	for _, ln := range s.listeners {
		s.say("listening", "listening on "+listenName(ln), "listen", listenName(ln))
	}
	if s.web != nil {
		s.say("http", "control and status over HTTP on "+listenName(s.web), "http", listenName(s.web))
	}
}

// line formats the status for people: the market time, with --clock publish also the publish time, the part of the
// recording played so far, and the recording's end. The least important parts are left out if they do not fit into width
// columns; 0 is any width.
func (s *replaying) line(st replay.Status, hint string, width int) string {
	layout := "15:04:05"
	if first, last := time.Unix(0, st.First).In(s.zone), time.Unix(0, max(st.First, st.Last)).In(s.zone); first.YearDay() != last.YearDay() {
		layout = "01-02 15:04:05"
	}
	clock := func(t int64) string { return time.Unix(0, t).In(s.zone).Format(layout) }
	by := "market"
	if s.byPublish {
		by = "published"
	}
	text := fmt.Sprintf("%s %s %s", st.State, by, clock(st.Recorded))
	if st.Last > st.First {
		text += fmt.Sprintf(", %.0f %% to %s", 100*float64(st.Recorded-st.First)/float64(st.Last-st.First), clock(st.Last))
	}
	if pub := s.stage.Publisher(); pub != nil {
		switch at := pub.Stats().LastEvent; {
		case at == 0:
		case s.byPublish:
			text += ", market " + clock(at)
		case s.o.shift != "":
			text += ", sent as " + clock(at)
		}
	}
	for _, more := range []string{fmt.Sprintf(", %v", st.Speed), hint, s.behind(st), ", " + nouns.Count(s.info().Subscribers, "subscriber"), fmt.Sprintf(", seq %d", st.Seq)} {
		if width == 0 || cells(text+more) < width {
			text += more
		}
	}
	return text
}

// behind describes how late the replay is; it is empty below behindTold.
func (s *replaying) behind(st replay.Status) string {
	if st.Behind < behindTold {
		return ""
	}
	return ", behind by " + formatDuration(st.Behind)
}

// stateColours are the colours of a replay's states.
var stateColours = map[replay.State]colour{replay.Playing: green, replay.Paused: yellow, replay.Waiting: yellow}

// keyHint is the key hint in the status line of a terminal.
const keyHint = ", ? for keys"

// keysHelp describes the keys.
const keysHelp = `space  pause, resume        + -      double, halve the speed
s      one tick             ← → , .  seek 10 seconds
? h    these keys           Ctrl-Z   stop; fg resumes
q      quit                 Ctrl-C   quit, exit code 130`

// behindTold is the shortest delay that is reported.
const behindTold = 10 * time.Millisecond

func (s *replaying) sayStatus(st replay.Status) {
	i := s.info()
	s.say("status", s.line(st, "", 0), "state", string(st.State), "recorded_time", st.Recorded, "replay_time", st.Wall, "speed", st.Speed.String(),
		"seq", st.Seq, "ticks", st.Ticks, "subscribers", i.Subscribers, "behind_ns", int64(st.Behind))
}

// A keyPress is the command of a key.
type keyPress uint8

const (
	pressNothing keyPress = iota
	pressPause
	pressStep
	pressFaster
	pressSlower
	pressBack
	pressForward
	pressHelp
	pressQuit
	pressInterrupt
)

var keyPresses = map[keystroke]keyPress{
	' ': pressPause, 's': pressStep, '+': pressFaster, '=': pressFaster, '-': pressSlower, ',': pressBack, '.': pressForward,
	'?': pressHelp, 'h': pressHelp, 'q': pressQuit, keyCtrlC: pressInterrupt, keyLeft: pressBack, keyRight: pressForward,
}

// obey carries out the commands of the keys.
func (s *replaying) obey(ctx context.Context, keys <-chan keystroke) error {
	for {
		select {
		case k := <-keys:
			err := unlessStopped(s.press(ctx, keyPresses[k]))
			if errors.As(err, new(*replay.RangeError)) {
				s.p.notef("%v", err) // such as a seek beyond the end
			} else if err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// keySeek is how far the arrow keys seek, in recorded time.
const keySeek = 10 * time.Second

func (s *replaying) press(ctx context.Context, k keyPress) error {
	st := s.player.Status()
	switch k {
	case pressPause:
		if st.State == replay.Paused {
			return s.player.Resume(ctx)
		}
		return s.player.Pause(ctx)
	case pressStep:
		return s.player.Step(ctx, 1)
	case pressFaster, pressSlower:
		speed := float64(st.Speed)
		switch {
		case speed == replay.Max:
			speed = 1
		case k == pressFaster:
			speed = min(2*speed, replay.MaxSpeed)
		default:
			speed = max(speed/2, replay.MinSpeed)
		}
		return s.player.SetSpeed(ctx, speed)
	case pressHelp:
		s.p.notef("%s", keysHelp)
	case pressBack:
		return s.player.Seek(ctx, replay.ToOffset(-keySeek))
	case pressForward:
		return s.player.Seek(ctx, replay.ToOffset(keySeek))
	case pressQuit:
		return errOver
	case pressInterrupt:
		return errInterrupted
	}
	return nil
}
