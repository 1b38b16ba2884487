package main

import (
	"golang.org/x/sys/unix"

	"tickfeed/cmd/child"
)

func canFill() error { return nil }

// fillDisk lets each write of c fail that makes a file longer, as on a full disk; emptyDisk undoes it. Its log
// goes to a pipe, and does not fail.
func fillDisk(c *child.Process) error { return limitFiles(c, true) }

func emptyDisk(c *child.Process) error { return limitFiles(c, false) }

func limitFiles(c *child.Process, full bool) error {
	var limit unix.Rlimit
	if err := unix.Prlimit(c.Cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	if full {
		limit.Cur = 0
	}
	return unix.Prlimit(c.Cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil)
}
