//go:build unix

package conform

import (
	"os"
	"os/exec"
	"syscall"
)

// stopSignal asks a client to end.
var stopSignal os.Signal = syscall.SIGTERM

// ownGroup gives the process of cmd a group of its own, with all that it starts.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// signalGroup sends a signal to the process of cmd and all that it has started.
func signalGroup(cmd *exec.Cmd, s os.Signal) error {
	return syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal))
}
