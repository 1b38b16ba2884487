// Package conform is the exam for subscribers in any language. A [Case] says what a publisher sends to a client and what
// the client must print (codec/CLIENT.md, "What a client prints"), a [Client] is a program under exam, [Run] lets it sit
// a case, and the judge compares what it printed, line by line and field by field.
//
//	Cases ──> Run: [publisher that plays the case] <── TCP ──> [client] ──> lines ──> judge ──> Verdict
//
// The cases of the golden streams need no time: each connection is a fixed sequence of bytes.
package conform
