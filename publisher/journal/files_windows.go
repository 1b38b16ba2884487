package journal

// FileLimit is how many file descriptors the process may have, and how many it has now. Here there is
// no limit that a publisher could reach.
func FileLimit() (limit, open int) { return 0, 0 }

func writable(string) error { return nil }
