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
package lab
