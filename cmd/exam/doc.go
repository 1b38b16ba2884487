// Package exam examines the feed: it runs publishers and subscribers through everything that can go wrong, and judges what
// came of it.
//
//   - An [Auditor] is told every tick that was published and every tick that a subscriber was given, and finds what
//     contradicts: two ticks under one number, an order broken, a number in no account or in two.
//   - [Simulate] is a small world in virtual time, with a network, disks and applications that fail by a seeded schedule, at the
//     end of which everything must be well again.
//
// Simulate is made for a testing/synctest bubble, where an hour takes a fraction of a second.
package exam
