package publisher

import "tickfeed/codec/nap"

// sleep is the default of Config.Sleep.
var sleep = nap.Sleep
