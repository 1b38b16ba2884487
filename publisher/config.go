package publisher

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec"
	"tickfeed/codec/nap"
	"tickfeed/publisher/journal"
)

// A Config configures a Publisher. The zero value of each field selects its default.
//
// If the journal cannot be written, because the disk is full, no file descriptor is left or the directory is read-only,
// publishing waits while subscribers are served and sent heartbeats, and resumes by itself. The start and the end of such a
// period are each logged once. The journal's files are checked once a second: if the directory or the current file was
// removed or moved away, the journal continues in a new file. The ticks of the missing files are then served from memory
// only, and not at all after a restart (see package journal).
type Config struct {
	// Where ticks are kept.

	// Journal is the directory of the log on disk. If it is empty, only ticks still in memory can be replayed.
	Journal string
	// Sync says how safe the journal is from a power cut. With journal.SyncInterval it is synced once a second, and publishing
	// waits, as for a full disk, while something has not been synced for 2 seconds, or 256 MiB have not been.
	Sync        journal.Sync
	FS          journal.FS    // nil for the file system of the operating system
	SegmentSize int64         // of a journal file, in bytes; 0 for the default of journal.Config
	RetainBytes int64         // approximate size of the journal; 0 for no bound
	RetainAge   time.Duration // age at which the journal removes ticks, also if the wall clock has jumped forward, but then an hour later; 0 for no bound
	Memory      int64         // size of the log in memory, in bytes, at least MinMemory; 0 for DefaultMemory

	// Admission: which clients may connect, and what each may see. A line follows when that changes.

	Token codec.Token // token that clients must present; empty to accept all clients, or those that Authorize does
	// Authorize returns what the user of a login may see, or an error if the login is wrong or no longer valid; its text is sent
	// to the client. It is called at each login and, since permissions change, about once a second for each connection, so it
	// must be quick, and return the same pointer as long as the permission is the same. An error ends the connection, and a
	// permission for less narrows it. Calls are concurrent. It excludes Token. Package users makes one of a file.
	Authorize func(Login) (*Permission, error)
	// TLS makes all connections TLS, with the fast paths of plain ones: a listener of package tls would lose them, and every
	// client that is slow for a moment. Nil for plain connections. Package certs makes one of files that may be replaced. If
	// MinVersion is 0, only TLS 1.3 is spoken. A connection ends within a second of the expiry of its client's certificate.
	TLS *tls.Config
	// ClientCAs returns the authorities of clients that are in force, always the same pointer as long as they are the same. It is
	// called about once a second: if they have changed, connections whose certificates they do not admit end. Nil if the
	// authorities of TLS do not change. Package certs makes one of a file.
	ClientCAs func() *x509.CertPool
	// MaxConnections is 0 for DefaultConnections. It is lowered, with a warning if it was set, if the process has too few
	// file descriptors for the connections, and for those that the journal needs: see Fit.
	MaxConnections int

	// The welcome, the lag limits and the heartbeats of clients.

	Mode      codec.Mode
	Server    string        // name and version sent to clients; empty for "tickfeed"
	Source    string        // description of the data for people, recorded in the journal
	Heartbeat time.Duration // longest silence on a connection; 0 for DefaultHeartbeat
	MaxLag    time.Duration // lag limit of the slow-consumer policies for clients that set none; 0 for DefaultMaxLag
	// RetryAfter is the upper bound of the random delay that each client is asked to wait before it reconnects after a shutdown.
	RetryAfter time.Duration
	// WaitFor makes publishing without a journal wait for subscribers before it drops numbers from a full memory:
	// first until WaitFor subscribers have connected since the start, then until the numbers were sent to WaitFor of
	// the connected subscribers, or to all of them if they are fewer. 0 disables waiting.
	WaitFor int

	// The world around the publisher.

	Logger zerolog.Logger      // the zero Logger is silent; package logto makes one of a slog.Handler
	Now    func() int64        // wall clock in ns since the Unix epoch; nil for the system's
	Sleep  func(time.Duration) // for pauses below a millisecond; nil for the system call, which testing/synctest cannot fake
	Seed   uint64              // of all random choices except session ids; 0 for a random seed

	fitted           bool          // Fit was called
	maxHandshakes    int           // connections that have not logged in; above it, the oldest is closed. 0 for the default
	handshakeTimeout time.Duration // 0 for HandshakeTimeout
}

// Defaults and bounds of a Config, and the bounds of everything that can grow.
const (
	DefaultMemory      = 64 << 20
	MinMemory          = 1 << 20
	DefaultHeartbeat   = time.Second
	MinHeartbeat       = 10 * time.Millisecond
	MaxHeartbeat       = time.Minute
	DefaultConnections = 20_000
	DefaultMaxLag      = 5 * time.Second
	HandshakeTimeout   = 5 * time.Second // time that a client has to log in

	defaultHandshakes = 1024 // a quarter of them with TLS, see secureShare
	segmentSize       = 1 << 20
	minSegments       = 8
	packetTarget      = 16 << 10 // body size in bytes above which a packet is sealed
	handOver          = 50 * time.Microsecond
	diskRetry         = 100 * time.Millisecond
	houseInterval     = time.Second
	waitPoll          = 20 * time.Millisecond // how often publishing that waits for subscribers checks for them
	waitSay           = 10 * time.Second      // how often it logs that it waits
	syncAhead         = 16 << 20              // bytes after which the journal is synced ahead of the next second
)

func (c *Config) fill() error {
	for _, d := range []struct {
		name     string
		v        *time.Duration
		def      time.Duration
		min, max time.Duration
	}{
		{"Heartbeat", &c.Heartbeat, DefaultHeartbeat, MinHeartbeat, MaxHeartbeat},
		{"MaxLag", &c.MaxLag, DefaultMaxLag, time.Millisecond, codec.MaxDuration},
		{"RetryAfter", &c.RetryAfter, 0, 0, time.Hour},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
		if *d.v < d.min || *d.v > d.max {
			return fmt.Errorf("publisher: %s must be from %v to %v, got %v", d.name, d.min, d.max, *d.v)
		}
	}
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if c.Memory < MinMemory {
		return fmt.Errorf("publisher: Memory must be at least %d bytes, got %d", MinMemory, c.Memory)
	}
	if c.MaxConnections < 0 {
		return fmt.Errorf("publisher: MaxConnections must not be negative, got %d", c.MaxConnections)
	}
	if c.WaitFor < 0 {
		return fmt.Errorf("publisher: WaitFor must not be negative, got %d", c.WaitFor)
	}
	if len(c.Token) > codec.MaxToken {
		return fmt.Errorf("publisher: Token must be at most %d bytes long, got %d", codec.MaxToken, len(c.Token))
	}
	if c.Token != "" && c.Authorize != nil {
		return errors.New("publisher: Token and Authorize exclude each other: set one")
	}
	var err error
	if c.TLS, err = fillTLS(c.TLS); err != nil {
		return err
	}
	if c.Server == "" {
		c.Server = "tickfeed"
	}
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixNano() }
	}
	if c.Sleep == nil {
		c.Sleep = nap.Sleep
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	if err := c.Fit(1); err != nil {
		return err
	}
	c.MaxConnections, c.maxHandshakes = cmp.Or(c.MaxConnections, DefaultConnections), c.handshakes()
	c.handshakeTimeout = cmp.Or(c.handshakeTimeout, HandshakeTimeout)
	return nil
}

// authenticates reports whether clients must show who they are.
func (c *Config) authenticates() bool { return c.Token != "" || c.Authorize != nil }

// secureShare is how many times fewer clients log in at the same time with TLS than without, by default. A client that sends a whole
// ClientHello and nothing more holds 13 KiB of heap and a stack of 16 KiB, and leaves 40 KiB of garbage: a thousand of them cost 28 MiB
// with 4, and 38 MiB with 2. With 8 an honest client would wait longer than a second for its place, or have too little time for its
// handshake, see secureGrace.
const secureShare = 4

// handshakes returns maxHandshakes or its default.
func (c *Config) handshakes() int {
	if c.TLS != nil {
		return cmp.Or(c.maxHandshakes, defaultHandshakes/secureShare)
	}
	return cmp.Or(c.maxHandshakes, defaultHandshakes)
}
