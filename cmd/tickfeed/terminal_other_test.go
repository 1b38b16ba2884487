//go:build !linux

package main

import "testing"

func TestReadme(t *testing.T) {
	t.Skip("types what the README shows in a pseudo-terminal, which this test opens on Linux only")
}
