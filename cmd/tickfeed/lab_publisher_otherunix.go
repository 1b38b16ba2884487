//go:build unix && !linux

package main

import (
	"os/exec"
	"syscall"
)

// runApart gives the process of cmd a group of its own.
func runApart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
