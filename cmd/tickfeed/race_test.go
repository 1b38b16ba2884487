//go:build race

package main

// most bounds the files of recorded data that are imported, in bytes: the race detector makes
// greater ones too slow.
const most = 300 << 10

// raceEnabled reports whether the race detector is on.
const raceEnabled = true
