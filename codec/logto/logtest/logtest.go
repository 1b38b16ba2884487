// Package logtest records what code under test logs or prints. Only tests import it.
package logtest

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
)

// A Buffer records what is written to it. The zero Buffer is empty. Its methods are safe for concurrent use.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns all that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Lines returns the lines so far that contain text, with their ends.
func (b *Buffer) Lines(text string) (found []string) {
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// Events returns the lines so far that contain text and are JSON objects, as zerolog writes them.
func (b *Buffer) Events(text string) (events []map[string]any) {
	for _, line := range b.Lines(text) {
		var event map[string]any
		if json.Unmarshal([]byte(line), &event) == nil {
			events = append(events, event)
		}
	}
	return events
}
