//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// stopSignal asks a publisher to end.
var stopSignal os.Signal = syscall.SIGTERM

// signalApart sends a signal to the process of cmd and all that it has started.
func signalApart(cmd *exec.Cmd, s os.Signal) error {
	return syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal))
}

func canSignal() error { return nil }

func freeze(cmd *exec.Cmd) error { return signalApart(cmd, syscall.SIGSTOP) }

func thaw(cmd *exec.Cmd) error { return signalApart(cmd, syscall.SIGCONT) }
