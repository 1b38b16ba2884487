package replay

import "time"

// SetPatience replaces followTime and stallTime. It is for before the first session.
func (s *Stage) SetPatience(follow, stall time.Duration) { s.follow, s.stall = follow, stall }

// SetLongestDrain replaces longestDrain. It is for before the first session.
func (s *Stage) SetLongestDrain(d time.Duration) { s.longest = d }

// Patience is how long a Drain of a session with that many numbers waits in all.
func (s *Stage) Patience(numbers uint64) time.Duration { return s.patience(numbers) }
