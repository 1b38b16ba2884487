// Package replay plays recordings into publishers: at their original pace, at any other speed or without waiting, with
// pause, single steps and seeking.
//
//	recording ──> tape ──┐
//	recording ──> tape ──┴─> Player ──> Stage ──> Publisher, Publisher, … ──> subscribers
//	                        (when)     (where)   (one for each seek or loop)
//
// [Serve] is the whole of it for most programs:
//
//	listener, err := net.Listen("tcp", ":8425")
//	if err != nil {
//		return err
//	}
//	return replay.Serve(ctx, listener, "day.tick")
//
// A [Player] with a [Stage] can be paused, stepped and moved: the example of [New] is such a program.
//
// A replay is a session of its own. The replay of one recording names its origin and keeps the recorded numbers, and so does one
// of recordings that continue one another; other recordings are merged under new numbers: see [Stage]. A tick is due at its market
// time: see [Player].
package replay
