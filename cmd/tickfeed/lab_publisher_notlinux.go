//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"runtime"
)

func canFill() error {
	return errors.New("only Linux can let the disk of one process fill up; this is " + runtime.GOOS)
}

func fillDisk(*exec.Cmd) error { return canFill() }

func emptyDisk(*exec.Cmd) error { return canFill() }
