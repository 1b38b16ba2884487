//go:build race

package recording

// stride thins out tests that go through every bit: the race detector makes them too slow.
const stride = 17
