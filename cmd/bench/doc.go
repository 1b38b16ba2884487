// Package bench measures tickfeed as its users run it: a publisher and its subscribers in separate processes,
// connected by TCP over loopback, with journal, checksums, heartbeats and the ledger on. Each figure is
// compared with what the machine itself can do, measured in the same run and alternating with it: plain TCP, a
// plain ping, sendfile.
//
//	bench ─┬─> publisher   ──TCP──> subscribers    the product
//	       └─> sender      ──TCP──> receiver       the limit
//
// Run is the measuring process. It starts the four others, which run Child, and sends them requests over their
// standard input and output.
package bench
