// Package compare finds out whether two parties hold the same ticks. A party is a ledger, recordings (a journal is a row of
// them), or the lines that a subscriber printed (CLIENT.md, "What a client prints").
//
//	party A ──> entries ──┐
//	                      ├──> Compare ──> Result: per session what each lacks and why, which instruments, the first ticks
//	party B ──> entries ──┘
//
// Each party is read twice: first for an outline (which sessions, in which order, where each ends), then entry by entry beside
// the other one. If the numbers of a party are in order, the comparison takes memory for the instruments and for the ranges that
// it lists only. A party that is not in order, or has numbers twice, is sorted in memory first.
package compare
