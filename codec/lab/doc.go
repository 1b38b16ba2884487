// Package lab is a network that fails on purpose: it stands between a publisher and its subscribers, knows the protocol,
// and does to each connection what a script says.
//
//	client <──> [Lab: link per connection, rules of the Script] <──> publisher
//
// A lab that runs the publisher itself ([Publisher]) also kills, stops, suspends and restarts it.
//
// A [Script] is a list of rules, one on a line, each with a trigger and a fault (see [Verbs] and [Triggers]). Parse reads
// it. A rule with a trigger by number, login or chance does the same to the same ticks each time, given the same script,
// seed and session; a trigger by time does so only if the publisher does. The decisions (which rules apply to a message)
// are plain functions; links own the sockets.
//
// # Where each fault is made
//
// The class of a fault, in the table of script.go, is what it happens to:
//
//	ofConnections  down.go, link.do; what lasts is a field of link, which link.go and stream.go look at
//	ofPackets      stream.go, which splits, flips and forges with packets.go
//	ofSnapshots    down.go, link.control; past.go asks the publisher for an old snapshot
//	ofLogins       link.go, Lab.serve; past.go for expire
//	ofDials        lab.go, Lab.Serve
//	ofSessions     sessions.go
//	ofPublisher    publisher.go, by the methods of Publisher
//
// To add a fault, add its Verb and its line in the table (script.go), let parseFault read what follows its words if it has
// arguments, and make it in the file of its class. TestEveryFaultHappensAndIsSurvived and TestEveryExampleIsARule run the
// example of each line; Parse and the help of the commands take it from the table, and README.md counts the faults.
package lab
