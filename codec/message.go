package codec

import (
	"fmt"
	"time"

	"tickfeed/feed"
)

const (
	// Version is the protocol version that this package speaks.
	Version = 1
	// FileMagic is the first field of a file header.
	FileMagic = "tickfeed"
)

// A Type is the first element of a message. An unknown type up to MaxCritical ends the connection; messages of greater unknown
// types are skipped.
type Type uint8

// The message types.
const (
	TypeHello         Type = 1 + iota // client
	TypeWelcome                       //
	TypeRefusal                       //
	TypeGoodbye                       // either side
	TypePacket                        //
	TypeHeartbeat                     //
	TypeSnapshotBegin                 //
	TypeSnapshotPart                  //
	TypeSnapshotEnd                   //
	TypeSession                       //
	TypeSubscribe                     // client
	TypeSubscribed                    //
	TypePulse                         // client
	TypeEnd                           //
	TypeFile                          // files only: header, repeated at every index mark
	TypeIndex                         // files only
	TypeTrailer                       // files only

	MaxCritical Type = 63
	MaxType     Type = 127
)

var typeNames = [...]string{
	"", "hello", "welcome", "refusal", "goodbye", "packet", "heartbeat", "snapshot begin",
	"snapshot part", "snapshot end", "session", "subscribe", "subscribed", "pulse", "end",
	"file", "index", "trailer",
}

func (t Type) String() string {
	if t != 0 && int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("message type %d", uint8(t))
}

// Bounds of the format, in bytes unless noted otherwise.
const (
	MaxBody     = 65535           // body of a packet or snapshot part
	MaxMessage  = 65536 + 64      // any message
	MaxHello    = 4096            // any message before login
	MaxEarly    = 16384           // the messages together that a reader skips before login
	MaxText     = 1024            // a text for people
	MaxPattern  = 130             // one instrument pattern (SYMBOL@VENUE)
	MaxPatterns = 4096            // number of patterns in a filter
	MaxToken    = 1024            // credentials
	MaxDepth    = 4               // nesting of arrays and maps
	MaxSpan     = uint64(1) << 62 // count of numbers that one packet may cover
	MaxSeq      = uint64(1) << 63 // greatest next sequence number
	MaxMarks    = 2048            // number of marks in an index message
	MaxFeatures = 16              // number of features in a hello or welcome
	MaxFeature  = 32              // name of a feature

	MinHeartbeat = time.Millisecond // least heartbeat interval
	MaxDuration  = 24 * time.Hour   // greatest heartbeat interval, lag bound and retry-after
)

// A Token holds a client's credentials. Its text form is always "(secret)".
type Token string

func (Token) String() string { return "(secret)" }

// GoString keeps the token out of %#v.
func (Token) GoString() string { return "(secret)" }

// MarshalText keeps the token out of JSON and logs.
func (Token) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// A Mode is where the ticks of a session come from.
type Mode uint8

// The modes.
const (
	ModeLive Mode = iota
	ModeSimulation
	ModeReplay
)

// A StartKind is the kind of a Start.
type StartKind uint8

// The starts.
const (
	StartSnapshot  StartKind = iota // a snapshot as of now, then the following ticks
	StartLive                       // the definitions, then ticks published from now on
	StartBeginning                  // the oldest number that the publisher has
	StartSeq                        // number Value
	StartTime                       // the first packet with a publish time of at least Value
)

// A Start is where a subscription begins.
type Start struct {
	Kind  StartKind
	Value uint64 // for StartSeq: a sequence number; for StartTime: nanoseconds since the Unix epoch
}

// A SlowPolicy is how the publisher treats a subscriber that does not keep up.
type SlowPolicy uint8

// The policies.
const (
	SlowAll        SlowPolicy = iota // continue where the subscriber is, and lose nothing
	SlowLatest                       // beyond the bound, skip to a snapshot
	SlowDisconnect                   // beyond the bound, disconnect with a goodbye
)

// A Position is how far a subscriber has received: it has every number of the lineage below Next.
type Position struct {
	Lineage feed.Lineage `json:"lineage"`
	Next    uint64       `json:"next"`
}

// A Hello is the first message of a client.
type Hello struct {
	MinVersion, MaxVersion uint64 // the protocol versions that the client speaks
	Client                 string // name and version of the client's software, for logs
	Token                  Token  // credentials; empty for none
	Filter                 Filter
	Start                  Start // used unless Position names a session that the publisher knows
	Slow                   SlowPolicy
	MaxLag                 time.Duration // bound of SlowLatest and SlowDisconnect in publish time; 0 means the publisher's default
	Heartbeat              time.Duration // requested interval; 0 means the publisher's default
	HasState               bool          // the client still has the definitions and the state as of Position
	Position               Position      // the client has no position if Lineage is empty
	Until                  uint64        // the line ends once it has covered all numbers below Until; 0 means no end
	Features               []string      // features that the client supports; see FeatureAck
}

// The features.
const (
	// FeatureAck allows a client to send a pulse as soon as it has applied ticks, in addition to one per interval.
	FeatureAck = "ack"
	// FeatureNarrow allows a publisher to send a Subscribed with request 0, without a Subscribe: what the client may see has
	// changed.
	FeatureNarrow = "narrow"
)

// A StartReason is how the publisher chose the start of a line.
type StartReason uint8

// The reasons.
const (
	StartedAsAsked    StartReason = iota // the hello's Start
	StartedResumed                       // at the position
	StartedRewound                       // before the position: at the fork of the lineages
	StartedBySnapshot                    // at a snapshot: there is no common session
)

// A Welcome accepts a hello.
type Welcome struct {
	Version   uint64
	Server    string // name and version of the publisher's software
	Mode      Mode
	Lineage   feed.Lineage   // lineage of the publisher's session
	Origin    feed.SessionID // in a replay, the recorded session; otherwise 0
	Head      uint64         // next seq of the session
	Tail      uint64         // oldest seq that the publisher holds
	Heartbeat time.Duration  // the heartbeat interval of both sides
	Seed      uint32         // checksum seed of the line in the session that owns Start
	Start     uint64         // first number that the line covers
	Reason    StartReason
	Now       int64    // the publisher's clock, in nanoseconds since the Unix epoch
	Features  []string // the features of the hello that the publisher grants
	Granted   *Filter  // the part of the hello's filter that the publisher grants; nil for all of it
	Limits    string   // what the line lacks, because the client may not see it, for people; empty for nothing. Needs Granted
}

// A Code is why a connection was refused or ended.
type Code uint8

// The codes.
const (
	CodeShutdown     Code = 1 + iota // the publisher is shutting down
	CodeBusy                         // too many connections or handshakes
	CodeVersion                      // no common protocol version
	CodeUnauthorized                 // credentials missing or wrong
	CodeProtocol                     // the peer broke the protocol
	CodeBadRequest                   // a field of the hello or subscribe is out of bounds
	CodeSlow                         // the slow-consumer policy
	CodeSilent                       // nothing heard for three intervals
	CodeInternal                     // the sender failed
	CodeDone                         // the client has received what it wanted
	CodeDenied                       // the client may not have what it asked for
)

// A Farewell is the content of a refusal or goodbye.
type Farewell struct {
	Code       Code          // may be a code that this version does not know
	Text       string        // for people
	Retry      bool          // reports whether the peer should connect again
	RetryAfter time.Duration // the least time to wait before that
}

// A Refusal rejects a hello; the connection ends.
type Refusal Farewell

// A Goodbye ends the connection, and gives the sender's reason.
type Goodbye Farewell

// A Heartbeat is the publisher's sign of life, sent if it has sent nothing else for an interval.
type Heartbeat struct {
	Covered uint64 // next seq on this line
	Head    uint64 // next seq of the session
	Now     int64  // the publisher's clock, in nanoseconds since the Unix epoch
}

// A ScopeKind is the part of the state that a snapshot replaces.
type ScopeKind uint8

// The scopes.
const (
	ScopeAll         ScopeKind = iota // the whole state of the subscription
	ScopeDefinitions                  // the whole state, but the snapshot has definitions only
	ScopeAdded                        // the instruments that Filter matches
)

// A SnapshotBegin begins a snapshot: the state as of Seq, after all numbers before Seq.
type SnapshotBegin struct {
	Seq   uint64
	Scope ScopeKind
	// Filter, for ScopeAdded, matches the added instruments.
	Filter Filter
}

// A SnapshotPart holds entries of a snapshot. Its wire form has a checksum, like that of a packet.
type SnapshotPart struct {
	Seq   uint64 // Seq of the SnapshotBegin
	Index uint64 // number of the part, from 0
	Base  int64  // base event time
	Body  []byte // entries, each a tick or a summary
}

// A SnapshotEnd ends a snapshot, which takes effect only now.
type SnapshotEnd struct {
	Seq   uint64
	Parts uint64 // number of parts
}

// A SessionChange reports that the line continues in another session.
type SessionChange struct {
	Mode    Mode
	Lineage feed.Lineage // lineage of the new session, which is its last element
	Origin  feed.SessionID
	Seed    uint32
	// Next is the first number of the line in the new session.
	Next uint64
}

// A Subscribe asks for another filter.
type Subscribe struct {
	Request uint64 // chosen by the client, returned in Subscribed
	Filter  Filter // replaces the current filter
}

// A Subscribed reports the number from which on another filter applies.
type Subscribed struct {
	Request uint64
	From    uint64 // the next number of the line
	Seed    uint32
	Granted *Filter // the part of the subscribe's filter that the publisher grants; nil for all of it
	Limits  string  // as in Welcome
}

// A Pulse is the sign of life of a client.
type Pulse struct {
	Next uint64 // position after the ticks applied so far
	Echo int64  // Now of the last heartbeat or welcome, or the publish time of the last packet applied if that is later
}

// An End reports that the session has ended. Final is the number after its last one.
type End struct {
	Final uint64
}

// A FileHeader begins a recording, and is repeated at every index mark.
type FileHeader struct {
	Version uint64
	Mode    Mode
	Lineage feed.Lineage   // lineage of the session that the following packets belong to
	Origin  feed.SessionID // in a replay, the recorded session; otherwise 0
	Seed    uint32         // checksum seed of the line
	Source  string         // description of the source, for people
	Filter  Filter         // the recorded part of the session; empty for all of it
	Next    uint64         // the next number
	Created int64          // when the file was created, in nanoseconds since the Unix epoch
}

// A Mark is an entry of a recording's index: the message at Offset is a file header, the
// next number after it is Seq, and packets after it have a publish time of at least Time.
type Mark struct {
	Seq    uint64
	Time   int64
	Offset uint64
}

// An Index is the sparse index at the end of a closed recording, or a part of it: a long index has several messages.
type Index struct {
	Marks []Mark
}

// A Trailer is the last message of a closed recording. It has a fixed length, TrailerSize.
type Trailer struct {
	IndexOffset uint64 // offset of the first index message
	Next        uint64 // number after the last one covered
	LastTime    int64  // publish time of the last packet
}
