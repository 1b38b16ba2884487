package sim

import "tickfeed/feed/script"

// Triggers documents the triggers of events. The market reads every other trigger of package script as a mistake.
var Triggers = []script.Form{
	script.Triggers[script.AtClock],
	{Word: "at", Usage: "at DURATION", Does: "once, this long after the market has opened on its first day", Example: "at 5m: calm"},
	{Word: "every", Usage: "every DURATION", Does: "again and again, the first time this long after the market has opened", Example: "every 10m: spread * x2 for 30s"},
	{Word: "on", Usage: "on NAME", Does: script.Triggers[script.ByHand].Does, Example: "on storm: halt AAPL for 1m"},
}
