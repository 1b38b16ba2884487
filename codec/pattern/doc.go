// Package pattern matches instruments by their names. A pattern is SYMBOL or SYMBOL@VENUE, where * matches any run of characters and ?
// any one character (PROTOCOL.md, "Filters"). Without @ the venue does not matter.
//
//	futures := &feed.Definition{Symbol: "ESZ6", Venue: "XCME"}
//	if err := pattern.Validate("ES*@XCME"); err != nil {
//		return err
//	}
//	pattern.Match("ES*@XCME", futures)       // true
//	pattern.Within("ES*@XCME", "E*")         // true: E* matches all that ES*@XCME matches
//	both, ok := pattern.Meet("ES*", "*@XCME") // ES*@XCME, true
//
// A codec.Filter is a list of patterns. A Matcher matches many instruments against many patterns.
package pattern
