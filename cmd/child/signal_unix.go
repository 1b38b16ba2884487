//go:build unix

package child

import (
	"os"
	"os/exec"
	"syscall"
)

var terminate os.Signal = syscall.SIGTERM

func signalGroup(cmd *exec.Cmd, s os.Signal) error {
	err := syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal))
	if err == syscall.ESRCH {
		return os.ErrProcessDone
	}
	return err
}

// CanSignal returns nil, or an error that says that this system cannot ask a process to end, nor freeze it.
func CanSignal() error { return nil }

// Freeze suspends the child, or its group, until Thaw.
func (p *Process) Freeze() error { return p.Signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (p *Process) Thaw() error { return p.Signal(syscall.SIGCONT) }
