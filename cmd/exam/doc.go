// Package exam is the exam for subscribers and publishers in any language. A [Case] says what a publisher sends to a client and what
// the client must print (codec/CLIENT.md, "What a client prints"), a [Program] is under exam, [Run] lets it sit
// a case, and the judge compares what it printed, line by line and field by field.
//
//	Cases ──> Run: [publisher that plays the case] <── TCP ──> [client] ──> lines ──> judge ──> Verdict
//
// The cases of the golden streams need no time: each connection is a fixed sequence of bytes. Those that take time are
// files of the directory cases, which [ParseCase] reads: what must happen, and a script of package lab.
//
// The same for publishers: [PublisherCases] start a publisher, give it ticks, and play the subscribers, which judge every
// message by codec/PROTOCOL.md (codec/PUBLISHER.md, "The contract of the exam").
//
//	PublisherCases ──> Run: ticks ──> [publisher] <── TCP ──> [lines, which judge] ──> book of all that was sent ──> Verdict
package exam
