package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	defaultAddress = "localhost:" + defaultPort
	defaultPort    = "8425" // port of publishers and replays
	httpPort       = "8427" // port of the HTTP server of a command; labPort is between the two
	unixPrefix     = "unix:"
	// dialOld bounds the check whether a process still listens on a unix socket.
	dialOld = time.Second
)

// readAddress returns addr, as given by the user, with port added if addr has none. The error is a usage error.
func readAddress(flag, addr, port string) (string, error) {
	if _, err := strconv.ParseUint(addr, 10, 64); err == nil {
		return "", usage("%s %q names no host; write localhost:%[2]s", flag, addr)
	}
	var noPort *net.AddrError
	if _, _, err := net.SplitHostPort(addr); addr != "" && !strings.HasPrefix(addr, unixPrefix) &&
		errors.As(err, &noPort) && noPort.Err == "missing port in address" {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), port)
	}
	return addr, checkAddress(flag, addr)
}

// readAddresses replaces each of addrs by the result of readAddress, and reports all that are invalid.
func readAddresses(flag string, addrs []string, port string) error {
	var wrong []error
	for i, addr := range addrs {
		complete, err := readAddress(flag, addr, port)
		if wrong = append(wrong, err); err == nil {
			addrs[i] = complete
		}
	}
	return errors.Join(wrong...)
}

// dialable returns the address, as a client on this machine writes it, of a server that listens on addr.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || strings.HasPrefix(addr, unixPrefix) {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// checkAddress returns an error if addr, which has a port, is invalid.
func checkAddress(flag, addr string) error {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		if path == "" {
			return usage("%s %q names no path; write unix:/run/tickfeed.sock", flag, addr)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		if _, err = strconv.ParseUint(port, 10, 16); err != nil {
			err = fmt.Errorf("the port %q is not a number from 0 to 65535", port)
		} else if strings.ContainsFunc(host, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`/\"<>`, r) }) {
			err = fmt.Errorf("%q is not a host name", host)
		}
	} else if a := (*net.AddrError)(nil); errors.As(err, &a) {
		err = errors.New(a.Err)
	}
	if err != nil {
		return usage("%s %q: %w; write HOST:PORT such as %s or [::1]:8425, or unix:PATH", flag, addr, err, defaultAddress)
	}
	return nil
}

// isBeyond reports whether other machines can reach addr, which has a port, when this one listens on it.
func isBeyond(addr string) bool {
	if strings.HasPrefix(addr, unixPrefix) {
		return false
	}
	host, _, _ := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// Flags that name an address to listen on, as errors name them.
const (
	listenFlag = "--listen"
	httpFlag   = "--http (empty for none)"
	serveFlag  = "--serve"
)

// listen listens on addr, the value of flag. It replaces a unix socket that a dead process left behind.
func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	path, isUnix := strings.CutPrefix(addr, unixPrefix)
	if !isUnix {
		ln, err := lc.Listen(ctx, "tcp", addr)
		return ln, listenError(flag, addr, err)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("listen on %s: the file exists and is not a socket; choose another path with %s", addr, flag)
		}
		if conn, err := net.DialTimeout("unix", path, dialOld); err == nil {
			conn.Close()
			return nil, inUse(flag, addr)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("listen on %s: remove the socket that a dead process left: %w", addr, err)
		}
	}
	ln, err := lc.Listen(ctx, "unix", path)
	return ln, listenError(flag, addr, err)
}

// errInUse reports that another process listens on an address.
var errInUse = errors.New("address in use")

func inUse(flag, addr string) error {
	return fmt.Errorf("listen on %s: %w; stop the process that listens there or choose another with %s", addr, errInUse, flag)
}

func listenError(flag, addr string, err error) error {
	var dns *net.DNSError
	switch {
	case err == nil:
		return nil
	case isInUse(err):
		return inUse(flag, addr)
	case isNotHere(err):
		return fmt.Errorf("listen on %s: no interface of this machine has that address; choose another with %s", addr, flag)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("listen on %s: permission denied; choose a port of 1024 or higher, or a directory that you can write to", addr)
	case errors.As(err, &dns):
		return fmt.Errorf("listen on %s: %s: no such host; choose another with %s", addr, dns.Name, flag)
	}
	return fmt.Errorf("listen on %s: %w", addr, cause(err))
}

// cause returns err without the operation and the addresses that package net puts before it.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return err
}

// isItself reports whether a connection to addr may end at ln.
func isItself(ctx context.Context, ln net.Listener, addr string) bool {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		there, err := os.Stat(path)
		if err != nil || ln.Addr().Network() != "unix" {
			return false
		}
		here, err := os.Stat(ln.Addr().String())
		return err == nil && os.SameFile(here, there)
	}
	here, ok := ln.Addr().(*net.TCPAddr)
	host, port, err := net.SplitHostPort(addr)
	if n, numeric := strconv.Atoi(port); !ok || err != nil || numeric != nil || n != here.Port {
		return false
	}
	if host == "" {
		host = "localhost"
	}
	bound, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	there, err := net.DefaultResolver.LookupIPAddr(bound, host)
	if err != nil {
		return false
	}
	local, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(there, func(a net.IPAddr) bool {
		if !here.IP.IsUnspecified() {
			return a.IP.Equal(here.IP) || a.IP.IsUnspecified() && here.IP.IsLoopback()
		}
		return a.IP.IsUnspecified() || a.IP.IsLoopback() || slices.ContainsFunc(local, func(l net.Addr) bool {
			n, ok := l.(*net.IPNet)
			return ok && n.IP.Equal(a.IP)
		})
	})
}

// listenName returns the address of ln in the form that subscribers use.
func listenName(ln net.Listener) string {
	if ln.Addr().Network() == "unix" {
		return unixPrefix + ln.Addr().String()
	}
	return ln.Addr().String()
}
