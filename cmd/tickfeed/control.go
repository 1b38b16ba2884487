package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/publisher/replay"
)

// controlOptions are the flags of control.
type controlOptions struct {
	addr string
	json bool
}

func (p *program) controlCommand() *cobra.Command {
	var o controlOptions
	cmd := &cobra.Command{
		Use:   "control status|pause|resume|step [N]|speed SPEED|seek PLACE",
		Short: "Control a replay that runs on this machine",
		Long: `Control a "tickfeed replay" that runs on this machine: pause and resume it, play single ticks, change
its speed, or seek. A place is a time of day (09:45, 14:30:00.250, in the --zone of the replay), a date
and time (2026-01-05T09:45), a sequence number, seq:N, a jump such as +10s or -1m, or start. A place
beyond either end of the recording is refused, except that a jump back stops at the beginning. step
returns once its ticks have been played. Each command prints the resulting status.

The same commands are available over HTTP: GET /status, POST /pause, /resume, /step {"n": 3},
/speed {"speed": "10x"}, /seek {"to": "09:45"}, with a JSON content type.`,
		Example: `  tickfeed control pause
  tickfeed control step 10
  tickfeed control speed 0.5x
  tickfeed control seek 14:45
  tickfeed control seek -30s
  tickfeed control status --json`,
		Args:      wantArgs(1, 2, "command"),
		ValidArgs: []string{"status", "pause", "resume", "step", "speed", "seek"},
		RunE:      func(cmd *cobra.Command, args []string) error { return p.control(cmd.Context(), &o, args) },
	}
	group(cmd, "Control", func(f *pflag.FlagSet) {
		f.StringVar(&o.addr, "addr", defaultControl, "control `ADDR` of the replay: HOST[:PORT] or unix:PATH")
		f.BoolVar(&o.json, "json", false, "print the status as one JSON object")
	})
	return cmd
}

// controlBody returns the body of the request for args; nil for the status.
func controlBody(args []string) (*replay.ControlRequest, error) {
	what, value := args[0], ""
	if len(args) > 1 {
		value = args[1]
	}
	switch what {
	case "status", "pause", "resume":
		if value != "" {
			return nil, usage("control %s takes no value, got %q", what, value)
		}
		if what == "status" {
			return nil, nil
		}
		return &replay.ControlRequest{}, nil
	case "step":
		n, err := uint64(1), error(nil)
		if value != "" {
			n, err = strconv.ParseUint(value, 10, 64)
		}
		if err != nil || n == 0 || n > replay.MaxStep {
			return nil, usage("control step: want a number of ticks from 1 to %d, got %q", replay.MaxStep, value)
		}
		return &replay.ControlRequest{N: n}, nil
	case "speed":
		speed, err := replay.ParseSpeed(value)
		if err != nil {
			return nil, usage("control speed: %w", err)
		}
		return &replay.ControlRequest{Speed: &speed}, nil
	case "seek":
		if _, err := replay.ParseTarget(value, nil); err != nil {
			return nil, usage("control seek: %w", err)
		}
		return &replay.ControlRequest{To: value}, nil
	}
	return nil, usage("control %s: want status, pause, resume, step, speed or seek", what)
}

// A controlStatus is an answer: the status of the player, and what the replay command adds.
type controlStatus struct {
	replay.Status
	replayInfo
	Error string `json:"error"`
}

// Bounds of the client.
const (
	controlTimeout = 5 * time.Minute // a seek in a large file may read much of it
	maxAnswer      = 64 << 10
)

func (p *program) control(ctx context.Context, o *controlOptions, args []string) error {
	body, err := controlBody(args)
	if err != nil {
		return err
	}
	if o.addr == "" {
		return usage("--addr names no address")
	}
	addr, err := readAddress("--addr", o.addr, controlPort)
	if err != nil {
		return err
	}
	answer, err := askControl(ctx, addr, args[0], body)
	if err != nil {
		return err
	}
	var st controlStatus
	if err := json.Unmarshal(answer, &st); err != nil || st.State == "" && st.Error == "" {
		return fmt.Errorf("%s is not the control address of a replay: it answered %.64q", o.addr, answer)
	}
	if st.Error != "" {
		return errors.New(st.Error)
	}
	if o.json {
		_, err := fmt.Fprintf(p.stdout, "%s\n", printableJSON(bytes.TrimSpace(answer)))
		return output(err)
	}
	_, err = fmt.Fprintln(p.stdout, p.screen(p.stdout).fit(printable(st.text()), "  "))
	return output(err)
}

// text formats the status for people.
func (st *controlStatus) text() string {
	at := func(t int64) string { return time.Unix(0, t).UTC().Format("2006-01-02 15:04:05.000Z") }
	text := fmt.Sprintf("%s at %s, %v, seq %d, %s ticks played, %s, session %v", st.State, at(st.Recorded), st.Speed, st.Seq,
		formatThousands(st.Ticks), plural(st.Subscribers, "subscriber"), st.Session)
	if st.Behind >= behindTold {
		text += ", behind by " + formatDuration(st.Behind)
	}
	return text
}

// askControl sends one request and returns the body of the answer.
func askControl(ctx context.Context, addr, what string, body *replay.ControlRequest) ([]byte, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	host := addr
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		host = "localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	client := &http.Client{Transport: transport, Timeout: controlTimeout}
	method, content := http.MethodGet, []byte(nil)
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return nil, err
		}
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+host+"/"+what, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(replay.ControlHeader, "control")
	answer, err := client.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errInterrupted
		}
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, fmt.Errorf("cannot reach the control of a replay at %s: %w; is one running on this machine, with this --control?", addr, cause(err))
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("control at %s: %w", addr, cause(err))
	}
	return b, nil
}

// jumps rearranges args of control, so that a jump back such as -10s is not taken for a flag.
func jumps(args []string) []string {
	if len(args) == 0 || args[0] != "control" {
		return args
	}
	var flags, values []string
	for _, a := range args {
		if len(a) > 1 && a[0] == '-' && (a[1] >= '0' && a[1] <= '9' || a[1] == '.') {
			values = append(values, a)
		} else {
			flags = append(flags, a)
		}
	}
	if len(values) == 0 {
		return args
	}
	return append(append(flags, "--"), values...)
}
