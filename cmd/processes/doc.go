// Package processes examines the tickfeed binary from outside: real processes, real sockets on the loopback,
// real kills. It contains tests only. Each test starts publishers and subscribers as a user would, injects the
// fault that it is named for, and lets an auditor judge. The auditor keeps its own record of every number that
// was given out.
//
// With -short none of the tests run. The flags -processes.kills and -processes.rounds make runs longer;
// -processes.seed repeats the choices of an earlier run, but not its timing.
package processes
