//go:build unix

package exam

import (
	"os"
	"os/exec"
	"syscall"
)

// stopSignal asks a client to end.
var stopSignal os.Signal = syscall.SIGTERM

// signalGroup sends a signal to the process of cmd and all that it has started.
func signalGroup(cmd *exec.Cmd, s os.Signal) error {
	return syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal))
}
