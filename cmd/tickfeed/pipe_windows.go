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
	wsaAccessRefused = syscall.Errno(10013) // also of a port that another process has to itself
)

// isClosedPipe reports that nobody reads what was written.
func isClosedPipe(err error) bool {
	return errors.Is(err, syscall.ERROR_BROKEN_PIPE) || errors.Is(err, errorNoData)
}

// isInUse reports that another process listens there.
func isInUse(err error) bool {
	return errors.Is(err, wsaAddrInUse) || errors.Is(err, wsaAccessRefused)
}

// isNotHere reports an address that no interface of this machine has.
func isNotHere(err error) bool { return errors.Is(err, wsaAddrNotAvail) }
