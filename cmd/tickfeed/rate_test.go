package main

import "testing"

// The first line of the log names the rate that one gets, and the shape of the day.
func TestTheLogNamesTheRate(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"--rate", "500"}, `500 ticks/s in every minute \(--day-shape flat\)`},
		{[]string{"--rate", "500", "--day-shape", "u"}, `500 ticks/s on average over the day, 4 times as many at the opening \(--day-shape u\)`},
		{[]string{"--steady"}, `10k ticks/s evenly spaced`},
		{[]string{"--rate", "max"}, `as fast as possible`},
	} {
		c := startCommand(t, t.TempDir(), append([]string{"publish", "--instruments", "5", "--listen", "unix:p.sock"}, test.args...)...)
		c.says(t, `"source":"simulated market, seed 1, `+test.says+`"`)
		_ = c.Process.Kill()
		<-c.done
	}
}
