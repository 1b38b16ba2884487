//go:build !windows

package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inForeground reports whether the process may read and set the terminal fd, because it is in the foreground process
// group. A process must check that first: the kernel stops processes of other groups at once (SIGTTIN, SIGTTOU).
func inForeground(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// canWrite returns an error if the process may not create files in dir.
func canWrite(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// hasTerminal reports whether the process has a controlling terminal, which sends SIGHUP when it is gone.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// waitInput waits at most d for input on the terminal fd, and reports whether there is any. Unlike a read, it may be
// called in the background.
func waitInput(fd int, d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d/time.Millisecond))
	return err == nil && n > 0
}

// continued are the signals that continue a stopped process: the shell had the terminal in the meantime.
var continued = []os.Signal{syscall.SIGCONT}

// resizes are the signals of a terminal whose size has changed.
var resizes = []os.Signal{syscall.SIGWINCH}

// suspend stops the process group, as a terminal that is not raw does at Ctrl-Z. It returns when the group is continued,
// or after suspendTime if the kernel does not stop the group because no shell could continue it.
func suspend() {
	again := make(chan os.Signal, 1)
	signal.Notify(again, continued...)
	defer signal.Stop(again)
	if syscall.Kill(0, syscall.SIGTSTP) != nil { // this program does not catch it
		return
	}
	select {
	case <-again:
	case <-time.After(suspendTime):
	}
}

// suspendTime bounds how long the kernel may take to stop the process.
const suspendTime = time.Second
