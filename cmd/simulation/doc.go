// Package simulation examines the feed: it runs publishers and subscribers through everything that can go wrong, and judges
// the result.
//
//   - An [Auditor] receives every tick that was published, every tick that a subscriber received, and every publish time that was
//     sent, and finds contradictions: two ticks or two times under one number, an order broken, a number in no account or in
//     two.
//   - [Simulate] is a small world in virtual time, with a network, disks and applications that fail by a seeded schedule, at the
//     end of which everything must be well again. It counts the faults that happened and the [State]s that were seen. What the
//     publisher sends is read by PROTOCOL.md alone, and so is one of the subscribers written.
//
// Simulate is made for a testing/synctest bubble, where an hour takes a fraction of a second.
package simulation
