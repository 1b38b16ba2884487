//go:build !unix

package exam

import (
	"os"
	"os/exec"
)

// stopSignal ends a client: this system cannot ask it to end.
var stopSignal = os.Kill

func ownGroup(*exec.Cmd) {}

func signalGroup(cmd *exec.Cmd, s os.Signal) error { return cmd.Process.Signal(s) }
