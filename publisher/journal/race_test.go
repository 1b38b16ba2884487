//go:build race

package journal_test

// stride thins out tests that go through every bit: the race detector makes them too slow.
const stride = 17
