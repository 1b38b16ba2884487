//go:build unix

package bench

import "syscall"

// canSignal reports whether terminate, freeze and thaw work.
const canSignal = true

// terminate asks the child to end, as a service manager does.
func (p *peer) terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// freeze suspends the child until thaw.
func (p *peer) freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

func (p *peer) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
