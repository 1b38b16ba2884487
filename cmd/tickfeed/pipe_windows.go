package main

import (
	"errors"
	"syscall"
)

// Windows error codes, see "System Error Codes" and "Windows Sockets Error Codes".
const (
	errorNoData      = syscall.Errno(232)
	wsaAddrInUse     = syscall.Errno(10048)
	wsaAddrNotAvail  = syscall.Errno(10049)
	wsaAccessRefused = syscall.Errno(10013) // also for a port that another process has reserved
)

// isClosedPipe reports whether err is from a write to a pipe without a reader.
func isClosedPipe(err error) bool {
	return errors.Is(err, syscall.ERROR_BROKEN_PIPE) || errors.Is(err, errorNoData)
}

// isInUse reports whether err is from listening on an address that is in use.
func isInUse(err error) bool {
	return errors.Is(err, wsaAddrInUse) || errors.Is(err, wsaAccessRefused)
}

// isNotHere reports whether err is about an address that no interface of this machine has.
func isNotHere(err error) bool { return errors.Is(err, wsaAddrNotAvail) }
