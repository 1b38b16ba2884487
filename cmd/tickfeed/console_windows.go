package main

import (
	"os"
	"time"
)

// Windows has no process groups that a terminal stops.

func inForeground(int) bool { return true }

func canWrite(string) error { return nil }

func hasTerminal() bool { return true }

func waitInput(int, time.Duration) bool { return true }

var continued, resizes []os.Signal

func suspend() {}
