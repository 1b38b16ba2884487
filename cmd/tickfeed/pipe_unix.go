//go:build !windows

package main

import (
	"errors"
	"syscall"
)

// isClosedPipe reports whether err is from a write to a pipe without a reader.
func isClosedPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// isInUse reports whether err is from listening on an address that is in use.
func isInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// isNotHere reports whether err is about an address that no interface of this machine has.
func isNotHere(err error) bool { return errors.Is(err, syscall.EADDRNOTAVAIL) }
