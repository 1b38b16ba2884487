package publisher

import (
	"net"
	"slices"
	"time"

	"tickfeed/feed"
)

// Stats describes the state of a publisher.
type Stats struct {
	Session    feed.SessionID
	Head       uint64 // next number
	Committed  uint64 // next number that may be sent
	Tail       uint64 // oldest number that can be served
	LastEvent  int64  // greatest event time published
	Journal    int64  // bytes on disk
	Disk       string // why the journal cannot be written, or is not synced in time; empty if all is well
	Ended      bool
	Joined     uint64 // subscribers that have logged in since the publisher began
	Handshakes int    // connections that have not logged in
	Conns      []ConnStats
	// Missing is how many clients lost their connection before they had everything, and have not come back. Missed is
	// when the last of these connections was lost. Absent holds the last of these connections, as they were then, at
	// most 64.
	Missing int
	Missed  time.Time
	Absent  []ConnStats
}

// Stats returns the current state of the publisher.
func (p *Publisher) Stats() Stats {
	q := &p.seq
	q.lock()
	s := Stats{Session: p.session.ID, Head: q.next, LastEvent: q.event, Ended: q.ended}
	q.mu.Unlock()
	s.Committed, _ = p.log.end()
	s.Tail = p.tail()
	if p.journal != nil {
		s.Journal = p.journal.Bytes()
	}
	if d := p.flusher.disk.Load(); d != nil {
		s.Disk = *d
	} else if err := p.flusher.behind(); err != nil {
		s.Disk = err.Error()
	}
	s.Conns, s.Handshakes, s.Joined = p.serving.stats()
	s.Missing, s.Missed, s.Absent = p.serving.lost()
	return s
}

// ConnStats describes one connected subscriber.
type ConnStats struct {
	Number    uint64 // number of the connection, unique in the publisher
	Remote    string
	Client    string
	Filter    []string
	Told      uint64 // number after the last one sent
	Confirmed uint64 // number after the last one that the client has confirmed as applied
	RoundTrip time.Duration
}

// isClientOf reports whether both connections are from clients with the same name and address, and so perhaps from
// the same client.
func (c ConnStats) isClientOf(o ConnStats) bool {
	return c.Client == o.Client && host(c.Remote) == host(o.Remote)
}

// host returns an address without its port.
func host(remote string) string {
	if h, _, err := net.SplitHostPort(remote); err == nil {
		return h
	}
	return remote
}

// Without returns conns without those that match a connection in others by client name and address. Each connection
// in others matches at most one.
func Without(conns, others []ConnStats) (left []ConnStats) {
	others = slices.Clone(others)
	for _, c := range conns {
		if i := slices.IndexFunc(others, c.isClientOf); i >= 0 {
			others = slices.Delete(others, i, i+1)
			continue
		}
		left = append(left, c)
	}
	return left
}

func (c *conn) stats() ConnStats {
	return ConnStats{
		Number: c.client.number, Remote: c.nc.RemoteAddr().String(), Client: c.client.name, Filter: c.client.filter,
		Told: c.progress.told.Load(), Confirmed: c.progress.confirmed.Load(), RoundTrip: time.Duration(c.progress.roundTrip.Load()),
	}
}

func (s *server) stats() (conns []ConnStats, handshakes int, joined uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]ConnStats, 0, len(s.conns))
	for c := range s.conns {
		out = append(out, c.stats())
	}
	return out, s.handshakes.Len(), s.joined
}

// lost returns how many clients were disconnected before they had everything and have not come back, when the last of
// them was disconnected, and the last of their connections.
func (s *server) lost() (missing int, missed time.Time, absent []ConnStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing, s.missed, slices.Clone(s.absent)
}
