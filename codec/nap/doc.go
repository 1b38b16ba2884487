// Package nap sleeps for less than a millisecond. On Linux it calls the kernel, because Go's timers round up to a millisecond
// in a process that is otherwise idle. Tests with testing/synctest must not use it: it does not know their clock.
package nap
