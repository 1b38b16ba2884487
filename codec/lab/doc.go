// Package lab is a network that fails on purpose: it stands between a publisher and its subscribers, knows the protocol,
// and does to each connection what a script says.
//
//	client <──> [Lab: link per connection, rules of the Script] <──> publisher
//
//	script, err := lab.Parse("faults", []byte("at seq 1000: cut rst\nat login 2: refuse busy retry 1s"))
//	if err != nil {
//		return err
//	}
//	l := &lab.Lab{
//		Script: script,
//		Dial: func(ctx context.Context) (net.Conn, error) {
//			return new(net.Dialer).DialContext(ctx, "tcp", "localhost:8425")
//		},
//		Event: func(e lab.Event) { fmt.Println(e.Fault, e.What, e.Client, e.Seq) },
//	}
//	err = l.Serve(ctx, listener) // clients connect to listener
//	for _, r := range l.Results() {
//		fmt.Println(r.Text, r.Times)
//	}
//
// A [Script] is a list of rules, one on a line, each with a trigger and a fault (see [Triggers] and [Verbs]). [Parse] reads
// it. A rule with a trigger by number, login or chance does the same to the same ticks each time, given the same script,
// seed and session; a trigger by time does so only if the publisher does. A lab that runs the publisher itself (see [Publisher])
// also kills, stops, suspends and restarts it.
//
// inside.go shows where each fault is made, and how to add one.
package lab
