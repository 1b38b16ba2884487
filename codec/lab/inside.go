// This file has no code. It shows where each fault is made, and how to add one, for readers of the source.
//
// The decisions (which rules apply to a message) are plain functions in rules.go and packets.go. A link owns the sockets of
// one connection, and two goroutines: link.up passes messages of the client, link.down those of the publisher.
//
// # Where each fault is made
//
// The class of a fault, in the table of script.go, is what it happens to:
//
//	class          made by                                       triggered by time or by hand
//	ofConnections  link.do (down.go); a fault that lasts is a    link.inject (link.go) makes those that cannot wait for
//	               field of link, which link.go, down.go and     a message, such as cut and stall; the others wait in
//	               stream.go read                                link.pending
//	ofPackets      link.spoil (stream.go), with packets.go;      link.pending, until link.take finds a packet
//	               link.do for delay, which spoils nothing
//	ofSnapshots    link.control (down.go); past.go asks the      link.pending, until link.take finds a snapshot
//	               publisher for an old snapshot
//	ofLogins       Lab.serve (link.go); past.go for expire       Lab.hellos, until Lab.serve reads a hello
//	ofDials        Lab.inject (lab.go), Lab.serve                Lab.inject
//	ofSessions     link.makeUp (sessions.go)                     link.pending of one connection
//	ofPublisher    Lab.act, Lab.change (publisher.go)            Lab.act
//
// # To add a fault
//
// Add its Verb and its line in the table (script.go), let readFault read its arguments if it has any, and make it in the
// function of its class. A fault without code there panics when it happens for the first time.
//
//   - A fault after which a right client must end the connection calls link.breaks, so that the rules that follow wait for that.
//     Verb.spoils says so of packets: it returns true for every fault of packets except delay.
//   - A fault of the publisher may need a method of Publisher. The interface has three implementations: that of publisher/hosted,
//     gate in cmd/exam, and labPublisher in cmd/tickfeed. Each must answer for the fault in Can.
//
// Parse and the help of the commands take the fault from the table. README.md counts the faults.
//
// # Tests
//
// TestEveryExampleIsARule parses the example of each line. TestEveryFaultHappensAndIsSurvived makes each of them, except those
// ofSessions, which TestMadeUpSessions makes, and those ofPublisher, which TestFaultsOfThePublisher of
// publisher/publishertest makes.

package lab
