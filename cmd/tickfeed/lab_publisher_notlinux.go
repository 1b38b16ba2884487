//go:build !linux

package main

import (
	"errors"
	"runtime"

	"tickfeed/cmd/child"
)

func canFill() error {
	return errors.New("only Linux can let the disk of one process fill up; this is " + runtime.GOOS)
}

func fillDisk(*child.Process) error { return canFill() }

func emptyDisk(*child.Process) error { return canFill() }
