//go:build unix && !linux

package child

import (
	"os/exec"
	"syscall"
)

// ownGroup gives the process of cmd a group of its own, with all that it starts.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
