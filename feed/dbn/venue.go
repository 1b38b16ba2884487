package dbn

// Venue is the code of the venue behind a publisher of Databento; empty for publisher 0.
func Venue(publisher uint16) string { return venue(publisher) }
