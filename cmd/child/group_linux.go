package child

import (
	"os/exec"
	"syscall"
)

// ownGroup gives the process of cmd a group of its own, with all that it starts. The kernel kills the process itself, though
// not what it has started, if this process dies without having ended it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
