package dbn

// Venue returns the code of the venue of a Databento publisher, or "" for publisher 0.
func Venue(publisher uint16) string { return venue(publisher) }
