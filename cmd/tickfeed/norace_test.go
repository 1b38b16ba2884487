//go:build !race

package main

// most bounds the files of recorded data that are imported, in bytes.
const most = 1 << 40

// raceEnabled reports whether the race detector is on.
const raceEnabled = false
