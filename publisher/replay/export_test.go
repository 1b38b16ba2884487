package replay

import "time"

// SetPatience replaces followTime and stallTime. It is for before the first session.
func (s *Stage) SetPatience(follow, stall time.Duration) { s.follow, s.stall = follow, stall }
