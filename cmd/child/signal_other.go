//go:build !unix

package child

import (
	"errors"
	"os"
	"os/exec"
)

// terminate kills, because this system cannot ask a process to end.
var terminate = os.Kill

func ownGroup(*exec.Cmd) {}

func signalGroup(cmd *exec.Cmd, s os.Signal) error { return cmd.Process.Signal(s) }

// CanSignal returns nil, or an error that says that this system cannot ask a process to end, nor freeze it.
func CanSignal() error {
	return errors.New("a process of Windows can be killed, and not be stopped or suspended")
}

// Freeze suspends the child, or its group, until Thaw.
func (p *Process) Freeze() error { return CanSignal() }

// Thaw ends Freeze.
func (p *Process) Thaw() error { return CanSignal() }
