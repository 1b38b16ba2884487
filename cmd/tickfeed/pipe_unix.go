//go:build !windows

package main

import (
	"errors"
	"syscall"
)

// isClosedPipe reports that nobody reads what was written.
func isClosedPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// isInUse reports that another process listens there.
func isInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// isNotHere reports an address that no interface of this machine has.
func isNotHere(err error) bool { return errors.Is(err, syscall.EADDRNOTAVAIL) }
