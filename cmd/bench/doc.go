// Package bench measures tickfeed as its user runs it: a publisher and its subscribers in
// processes of their own, connected by TCP over loopback, with journal, checksums, heartbeats
// and the ledger on. Beside each figure stands what the machine itself can do, measured in the
// same run and alternating with it: plain TCP, a plain ping, sendfile.
//
//	bench ─┬─> publisher   ──TCP──> subscribers    the product
//	       └─> sender      ──TCP──> receiver       the limit
//
// Run is the measuring process; Child is the life of each of the four others, which it starts
// and orders about over their standard input and output.
package bench
