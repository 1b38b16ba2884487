package codec

import (
	"fmt"
	"time"

	"tickfeed/feed"
)

// Version is the protocol version that this package speaks.
const Version = 1

// A Type is the first element of a message. Types up to MaxCritical that a reader does not
// know end the connection; greater ones are skipped.
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

// Bounds of the format, in bytes unless they say otherwise.
const (
	MaxBody     = 65535           // body of a packet or snapshot part
	MaxMessage  = 65536 + 64      // any message
	MaxHello    = 4096            // any message before login
	MaxText     = 1024            // a text for a person
	MaxPattern  = 130             // one instrument pattern (SYMBOL@VENUE)
	MaxPatterns = 4096            // how many patterns a filter has
	MaxToken    = 1024            // credentials
	MaxDepth    = 4               // nesting of arrays and maps
	MaxSpan     = uint64(1) << 62 // numbers that one packet may cover
	MaxSeq      = uint64(1) << 63 // greatest next sequence number
	MaxMarks    = 2048            // how many marks an index message has
	MaxFeatures = 16              // how many features a hello or welcome names
	MaxFeature  = 32              // the name of a feature

	MinHeartbeat = time.Millisecond // least heartbeat interval
	MaxDuration  = 24 * time.Hour   // greatest heartbeat interval, lag bound and retry-after
)

// FileMagic is the first field of a file header.
const FileMagic = "tickfeed"

// TrailerSize is the size of a trailer, in bytes.
const TrailerSize = 29

// A Token is a client's credentials. It is never printed: as text it reads "(secret)".
type Token string

func (Token) String() string { return "(secret)" }

// GoString keeps the token out of %#v.
func (Token) GoString() string { return "(secret)" }

// MarshalText keeps the token out of JSON and logs.
func (Token) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// A Mode says where a session's ticks come from.
type Mode uint8

// The modes.
const (
	ModeLive Mode = iota
	ModeSimulation
	ModeReplay
)

// A StartKind says where a subscription begins.
type StartKind uint8

// The starts.
const (
	StartSnapshot  StartKind = iota // a snapshot as of now, then what follows
	StartLive                       // what follows from now, after the definitions
	StartBeginning                  // the oldest number that the publisher has
	StartSeq                        // number Value
	StartTime                       // the first packet with a publish time of at least Value
)

// A Start is where a subscription begins.
type Start struct {
	Kind  StartKind
	Value uint64 // of StartSeq: a sequence number; of StartTime: ns since the Unix epoch
}

// A SlowPolicy says what becomes of a subscriber that does not keep up.
type SlowPolicy uint8

// The policies.
const (
	SlowAll        SlowPolicy = iota // read on from where it is, lose nothing
	SlowLatest                       // beyond the bound, skip to a snapshot
	SlowDisconnect                   // beyond the bound, goodbye
)

// A Position is how far a subscriber has received: every number of the lineage below Next.
type Position struct {
	Lineage feed.Lineage `json:"lineage"`
	Next    uint64       `json:"next"`
}

// A Hello is the first message of a client.
type Hello struct {
	MinVersion, MaxVersion uint64 // the versions it speaks
	Client                 string // name and version of its software, for logs
	Token                  Token  // credentials; empty for none
	Filter                 Filter
	Start                  Start // used unless Position names a session that the publisher knows
	Slow                   SlowPolicy
	MaxLag                 time.Duration // bound of SlowLatest and SlowDisconnect in publish time; 0 for the publisher's
	Heartbeat              time.Duration // wanted interval; 0 for the publisher's
	HasState               bool          // it still has the definitions and the state as of Position
	Position               Position      // nothing held if Lineage is empty
	Until                  uint64        // the line ends once it has covered the numbers below; 0 for no end
	Features               []string      // that the client understands; see FeatureAck
}

// FeatureAck is the feature that a client may send a pulse as soon as it has applied ticks, and not only each interval.
const FeatureAck = "ack"

// A StartReason says how a line's start was chosen.
type StartReason uint8

// The reasons.
const (
	StartedAsAsked    StartReason = iota // the hello's Start
	StartedResumed                       // at the position
	StartedRewound                       // before the position: at the fork of the lineages
	StartedBySnapshot                    // no common session: by a snapshot
)

// A Welcome accepts a hello.
type Welcome struct {
	Version   uint64
	Server    string // name and version of the software
	Mode      Mode
	Lineage   feed.Lineage   // of the publisher's session
	Origin    feed.SessionID // of a replay: the session that was recorded; else 0
	Head      uint64         // next seq of the session
	Tail      uint64         // oldest seq that the publisher holds
	Heartbeat time.Duration  // the interval that it will keep
	Seed      uint32         // checksum seed of the line in the session that owns Start
	Start     uint64         // first number that the line covers
	Reason    StartReason
	Now       int64    // the publisher's clock
	Features  []string // of the hello's, those that the publisher grants
	Granted   *Filter  // what of the hello's filter the publisher grants; nil for all of it
}

// A Code says why a connection was refused or ended.
type Code uint8

// The codes.
const (
	CodeShutdown     Code = 1 + iota // the publisher stops
	CodeBusy                         // too many connections or handshakes
	CodeVersion                      // no common protocol version
	CodeUnauthorized                 // credentials missing or wrong
	CodeProtocol                     // the peer broke the protocol
	CodeBadRequest                   // a field of the hello or subscribe is out of bounds
	CodeSlow                         // the slow-consumer policy
	CodeSilent                       // nothing heard for three intervals
	CodeInternal                     // the sender failed
	CodeDone                         // a client has what it wanted
)

var codeNames = [...]string{
	"", "shutdown", "busy", "version", "unauthorized", "protocol", "bad request", "slow",
	"silent", "internal", "done",
}

func (c Code) String() string {
	if c != 0 && int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// A Farewell is what a refusal and a goodbye say.
type Farewell struct {
	Code       Code          // codes that a reader does not know are read too
	Text       string        // for a person
	Retry      bool          // it makes sense to connect again
	RetryAfter time.Duration // not sooner than this
}

// A Refusal answers a hello that is not accepted; the connection ends.
type Refusal Farewell

// A Goodbye says why its sender ends the connection.
type Goodbye Farewell

// A Heartbeat proves that its sender lives, when nothing else was sent for an interval.
type Heartbeat struct {
	Covered uint64 // next seq on this line
	Head    uint64 // next seq of the session
	Now     int64  // the publisher's clock
}

// A ScopeKind says which part of the state a snapshot replaces.
type ScopeKind uint8

// The scopes.
const (
	ScopeAll         ScopeKind = iota // everything the subscription sees
	ScopeDefinitions                  // everything, but only definitions are told
	ScopeAdded                        // the instruments that Filter matches
)

// A SnapshotBegin opens a snapshot: the state as of Seq, every number before it is in.
type SnapshotBegin struct {
	Seq   uint64
	Scope ScopeKind
	// Filter, for ScopeAdded, is what was added.
	Filter Filter
}

// A SnapshotPart holds entries of a snapshot. Its wire form has a checksum, as a packet's.
type SnapshotPart struct {
	Seq   uint64 // that of the begin
	Index uint64 // parts are numbered from 0
	Base  int64  // base event time
	Body  []byte // entries, each a tick or a summary
}

// A SnapshotEnd closes a snapshot; only now it counts.
type SnapshotEnd struct {
	Seq   uint64
	Parts uint64 // how many parts there were
}

// A SessionChange says that from here on the line continues in another session.
type SessionChange struct {
	Mode    Mode
	Lineage feed.Lineage // that of the session, itself last
	Origin  feed.SessionID
	Seed    uint32
	// Next is the first number of the line in that session.
	Next uint64
}

// A Subscribe asks for other instruments.
type Subscribe struct {
	Request uint64 // chosen by the client, returned in Subscribed
	Filter  Filter // replaces the present one
}

// A Subscribed says from where on another filter holds.
type Subscribed struct {
	Request uint64
	From    uint64 // the next number of the line
	Seed    uint32
	Granted *Filter // what of the subscribe's filter the publisher grants; nil for all of it
}

// A Pulse is the sign of life of a client.
type Pulse struct {
	Next uint64 // position applied so far
	Echo int64  // Now of the last heartbeat or welcome
}

// An End says that the session is over: no number from Final on will ever be given.
type End struct {
	Final uint64
}

// A FileHeader opens a recording and stands again at every index mark.
type FileHeader struct {
	Version uint64
	Mode    Mode
	Lineage feed.Lineage   // of the session that the following packets belong to
	Origin  feed.SessionID // of a replay; else 0
	Seed    uint32         // checksum seed of the line
	Source  string         // what was recorded, for a person
	Filter  Filter         // what of the session was recorded; empty for all
	Next    uint64         // first number that follows
	Created int64          // when the file was begun
}

// A Mark is one entry of a recording's index: the message at Offset is a file header, the
// next number after it is Seq, and packets from there on have a publish time of at least Time.
type Mark struct {
	Seq    uint64
	Time   int64
	Offset uint64
}

// An Index is the sparse index at the end of a closed recording; a long one stands in
// several messages.
type Index struct {
	Marks []Mark
}

// A Trailer is the last message of a closed recording. It has a fixed length, TrailerSize.
type Trailer struct {
	IndexOffset uint64 // where the first index message begins
	Next        uint64 // number after the last one covered
	LastTime    int64  // publish time of the last packet
}
