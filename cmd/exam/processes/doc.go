// Package processes examines the tickfeed binary from outside: real processes, real sockets
// on the loopback, real kills. It holds tests only. Each starts publishers and subscribers as
// a user would, does to them what its name says, and lets an auditor judge, which keeps its own
// record of every number that anybody was ever given.
//
// With -short nothing of this runs. The flags -processes.kills and -processes.rounds make runs
// longer; -processes.seed repeats the choices of an earlier run, but not its timing.
package processes
