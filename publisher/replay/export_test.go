package replay

import "time"

// SetPatience replaces followTime and stallTime. Call it before the first session.
func (s *Stage) SetPatience(follow, stall time.Duration) { s.follow, s.stall = follow, stall }

// SetLongestWait replaces longestWait. Call it before the first session.
func (s *Stage) SetLongestWait(d time.Duration) { s.longest = d }

// Patience returns how long WaitForSubscribers waits at most for a session with the given number of numbers.
func (s *Stage) Patience(numbers uint64) time.Duration { return s.patience(numbers) }
