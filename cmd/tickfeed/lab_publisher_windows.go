package main

import (
	"errors"
	"os"
	"os/exec"
)

// stopSignal ends a publisher: this system cannot ask it to end.
var stopSignal = os.Kill

func runApart(*exec.Cmd) {}

func signalApart(cmd *exec.Cmd, s os.Signal) error { return cmd.Process.Signal(s) }

func canSignal() error {
	return errors.New("a process of Windows can be killed, and not be stopped or suspended")
}

func freeze(*exec.Cmd) error { return canSignal() }

func thaw(*exec.Cmd) error { return canSignal() }
