// This file has no code. It says how the types of this package work together, for readers of the source.
//
// A line decides what each message means (line.go; welcome.go decides where it begins, control.go reads control messages),
// liveness.Monitor when a peer is dead, and retry when to connect again; none of them does I/O or reads a clock.
// Subscriber.Run owns the socket and the position file.

package subscriber
