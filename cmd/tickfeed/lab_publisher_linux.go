package main

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// runApart gives the process of cmd a group of its own, and ends it if this process is killed.
func runApart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func canFill() error { return nil }

// fillDisk lets each write of cmd's process fail that makes a file longer, as on a full disk; emptyDisk undoes it. Its log
// goes to a pipe, and does not fail.
func fillDisk(cmd *exec.Cmd) error { return limitFiles(cmd, true) }

func emptyDisk(cmd *exec.Cmd) error { return limitFiles(cmd, false) }

func limitFiles(cmd *exec.Cmd, full bool) error {
	var limit unix.Rlimit
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	if full {
		limit.Cur = 0
	}
	return unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil)
}
