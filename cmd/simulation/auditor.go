package simulation

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"tickfeed/cmd/audit"
	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// An Auditor knows one tick and one publish time for each number of each session, over all publishers, all their lives, and
// all subscribers. It shares no code with what it judges. The zero Auditor is ready to use, by many goroutines at once.
type Auditor struct {
	// Complete reports whether the caller passes every tick to Publish before any subscriber can receive it. A
	// subscriber that receives any other tick has then received one that was never published.
	Complete bool

	mu      sync.Mutex
	book    audit.Book[number]
	symbols []string          // index 0 means no symbol
	numbers map[string]uint16 // indices of symbols
	err     error
}

// A number holds what the auditor knows about one sequence number.
type number struct {
	hash    uint64 // of its tick; 0 if no tick was seen
	publish int64  // when its packet was sealed; 0 if it is not known
	since   int64  // the earliest possible time of the call of Publish; 0 if it is not known
	subject uint16 // index of its instrument's symbol; 0 if it is not known
}

// Publish records that ticks have the numbers of session from first. Their instruments are in state, or defined
// by ticks. It returns an error if one of the numbers was another tick before.
func (a *Auditor) Publish(session feed.SessionID, first uint64, ticks []feed.Tick, state *feed.State) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range ticks {
		seq := first + uint64(i)
		if err := a.see(session, seq, audit.Hash(&ticks[i]), "published"); err != nil {
			return err
		}
		d := ticks[i].Definition()
		if d == nil && state != nil {
			d, _ = state.Definition(ticks[i].Instrument)
		}
		if d != nil {
			a.book.At(session, seq).subject = a.symbol(d.Symbol)
		}
	}
	return nil
}

// symbol returns the index of s in symbols. The lock is held.
func (a *Auditor) symbol(s string) uint16 {
	n, known := a.numbers[s]
	if !known {
		if a.numbers == nil {
			a.numbers, a.symbols = make(map[string]uint16), []string{""}
		}
		n = uint16(len(a.symbols))
		a.numbers[s], a.symbols = n, append(a.symbols, s)
	}
	return n
}

// Subject returns the symbol that number seq of session was published for. It returns false if Publish did not record it.
func (a *Auditor) Subject(session feed.SessionID, seq uint64) (symbol string, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.book.Of(session, seq)
	if n.subject == 0 {
		return "", false
	}
	return a.symbols[n.subject], true
}

// Since records that Publish is called with numbers r of session at time now of the publisher's clock, which
// must not go back.
func (a *Auditor) Since(session feed.SessionID, r feed.Range, now int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for seq := r.From; seq < r.To; seq++ {
		a.book.At(session, seq).since = now
	}
}

// Sealed records the publish time that a reader received for numbers r of session; who names the reader in errors. A number
// has one publish time over all connections, restarts and files. A filtered line may receive ticks of several packets in one,
// with the publish time of the last; then within is the longest time between the first and the last of them.
func (a *Auditor) Sealed(who string, session feed.SessionID, r feed.Range, publish int64, within time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for seq := r.From; seq < r.To; seq++ {
		n := a.book.At(session, seq)
		var err error
		switch {
		case publish < n.since:
			err = fmt.Errorf("%s: number %d of session %v was sealed at %d, before it was published at %d", who, seq, session, publish, n.since)
		case n.publish == 0 && within == 0:
			n.publish = publish
		case n.publish == 0, publish >= n.publish && publish-n.publish <= int64(within):
		default:
			err = fmt.Errorf("%s: number %d of session %v was sealed at %d, and at %d before", who, seq, session, publish, n.publish)
		}
		if err != nil {
			if a.err == nil {
				a.err = err
			}
			return err
		}
	}
	return nil
}

// Forget removes numbers r of session, which Publish recorded and the publisher then did not publish.
func (a *Auditor) Forget(session feed.SessionID, r feed.Range) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for seq := r.From; seq < r.To; seq++ {
		*a.book.At(session, seq) = number{}
	}
}

// Err returns the first contradiction.
func (a *Auditor) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Received records ticks that a reader received; who names the reader in errors. The ticks are numbered and of one session.
// State is the state as of their end.
func (a *Auditor) Received(who string, session feed.SessionID, ticks []feed.Tick, state *feed.State) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range ticks {
		if err := a.see(session, ticks[i].Seq, audit.Hash(&ticks[i]), who); err != nil {
			return err
		}
	}
	return nil
}

// see records the hash of one number. The lock is held.
func (a *Auditor) see(session feed.SessionID, seq, h uint64, who string) error {
	known := &a.book.At(session, seq).hash
	var err error
	switch {
	case *known == h:
	case *known != 0:
		err = fmt.Errorf("%s: number %d of session %v is another tick than before", who, seq, session)
	case a.Complete && who != "published":
		err = fmt.Errorf("%s: number %d of session %v was never published", who, seq, session)
	default:
		*known = h
	}
	if err != nil && a.err == nil {
		a.err = err
	}
	return err
}

// A Witness receives every batch that one subscriber passes to its application, from New to the end, and checks
// the subscriber's ledger against them. Only the handler's goroutine may call its methods, except Judge, which
// must be called after the end.
type Witness struct {
	auditor *Auditor
	name    string
	excused map[feed.SessionID]feed.Range // numbers that an earlier subscriber received, by the position that it saved
	stories map[feed.SessionID]*story
	order   []feed.SessionID // of stories, by first appearance
	err     error
	joined  bool         // a publisher has answered on the current connection
	down    *recovery    // in progress; nil for none
	lineage feed.Lineage // of the position, as last seen

	// Merged is the longest time between the first and the last of the packets whose ticks a filtered line receives in one; 0 for
	// a line of everything.
	Merged time.Duration
	// Wants reports whether the line asks for ticks of a symbol; nil if its filter changes or is not known.
	Wants func(symbol string) bool

	Delivered uint64 // ticks so far
	Snapshots uint64 // snapshots of everything so far
}

// A recovery holds the changes that a witness received since a connection was lost.
type recovery struct {
	since          time.Time
	cause          subscriber.Cause
	attempts       int
	ticks          uint64
	lost, disowned []subscriber.Numbers
}

// A story holds what a witness knows about one session.
type story struct {
	owned                    feed.Range // numbers that the line has covered, or should have, according to the lineages of its positions
	delivered                []feed.Range
	withheld, lost, disowned []feed.Range
	publish                  int64 // time of the last packet
	forked                   bool  // some of its numbers were disowned, perhaps temporarily
	// left lists the numbers of withheld and lost from the time when the line left the session for sessions
	// without one in common with it. If the line comes back, the publisher may have these numbers after all.
	left []feed.Range
}

// Witness returns a witness of subscriber s, which must not have run yet.
func (a *Auditor) Witness(name string, s *subscriber.Subscriber) *Witness {
	w := a.witness(name)
	held := s.Position()
	for session, r := range below(held.Lineage, held.Next) {
		w.excused[session] = r
	}
	return w
}

// witness returns a witness of a subscriber that has received nothing yet.
func (a *Auditor) witness(name string) *Witness {
	return &Witness{
		auditor: a, name: name,
		excused: make(map[feed.SessionID]feed.Range), stories: make(map[feed.SessionID]*story),
	}
}

// Take checks one batch of s. An error is a broken promise; it repeats.
func (w *Witness) Take(s *subscriber.Subscriber, b *subscriber.Batch) error {
	if w.err == nil {
		w.err = w.take(s, b)
	}
	return w.err
}

func (w *Witness) take(s *subscriber.Subscriber, b *subscriber.Batch) error {
	w.leave(s.Position().Lineage)
	switch {
	case (b.Ticks == nil) == (b.Change == nil):
		return w.broken("a batch with both or neither of ticks and change")
	case b.Change != nil:
		return w.change(s, b.Change)
	case b.Snapshot:
		for i := range b.Ticks {
			if t := &b.Ticks[i]; t.Seq != 0 || t.Flags&feed.FlagSnapshot == 0 {
				return w.broken("a tick of a snapshot with number %d and flags %b", t.Seq, t.Flags)
			}
		}
		return nil
	}
	held := s.Position()
	st := w.story(b.Session)
	for publish := range b.ByPublishTime() {
		if publish < st.publish {
			return w.broken("session %v: publish time %d after %d", b.Session, publish, st.publish)
		}
		st.publish = publish
	}
	// All numbers of a batch are of one session: the one that owns them in the lineage of the position.
	owned, ok := owns(held.Lineage, b.Session)
	for i := range b.Ticks {
		seq := b.Ticks[i].Seq
		switch {
		case seq == 0:
			return w.broken("session %v: a tick without a number", b.Session)
		case len(st.delivered) > 0 && seq < st.delivered[len(st.delivered)-1].To:
			return w.broken("session %v: number %d after %d: again, or out of order", b.Session, seq, st.delivered[len(st.delivered)-1].To-1)
		case !ok || !owned.Contains(seq):
			return w.broken("session %v: number %d is not its own, by lineage %v", b.Session, seq, held.Lineage)
		case within(st.left, seq):
			// The line has come back to a journal that has the number after all.
			one := []feed.Range{{From: seq, To: seq + 1}}
			st.withheld, st.lost, st.left = minus(st.withheld, one), minus(st.lost, one), minus(st.left, one)
		case within(st.withheld, seq) || within(st.lost, seq):
			return w.broken("session %v: number %d was reported as withheld or lost before", b.Session, seq)
		case within(st.disowned, seq):
			// In a journal that came back, the number is its session's again: only then may it be delivered
			// twice.
			st.disowned = minus(st.disowned, []feed.Range{{From: seq, To: seq + 1}})
		}
		st.delivered = extend(st.delivered, feed.Range{From: seq, To: seq + 1})
	}
	w.Delivered += uint64(len(b.Ticks))
	if w.down != nil {
		w.down.ticks += uint64(len(b.Ticks))
	}
	if err := w.sealed(b); err != nil {
		return err
	}
	return w.auditor.Received(w.name, b.Session, b.Ticks, b.State)
}

func (w *Witness) change(s *subscriber.Subscriber, c *subscriber.Change) error {
	if c.Snapshot != nil && c.Snapshot.Scope == codec.ScopeAll {
		w.Snapshots++
	}
	if err := w.recovery(c); err != nil {
		return err
	}
	for _, n := range c.Withheld {
		st, r := w.story(n.Session), []feed.Range{n.Range}
		if again := minus(intersect(union(st.withheld, st.lost), r), st.left); len(again) > 0 {
			return w.broken("session %v: %v is reported as withheld, and was withheld or lost before", n.Session, again[0])
		}
		st.withheld, st.lost, st.left = union(st.withheld, r), minus(st.lost, r), minus(st.left, r)
	}
	lineage := s.Position().Lineage
	for _, n := range c.Lost {
		st, r := w.story(n.Session), []feed.Range{n.Range}
		st.lost = union(st.lost, r)
		if _, in := owns(lineage, n.Session); !in { // the line had not received these numbers when it left the session
			st.left = union(st.left, r)
		}
	}
	for _, n := range c.Disowned {
		st, r := w.story(n.Session), []feed.Range{n.Range}
		st.disowned = union(st.disowned, r)
		st.forked = true
		st.delivered, st.withheld, st.lost, st.left = minus(st.delivered, r), minus(st.withheld, r), minus(st.lost, r), minus(st.left, r)
	}
	if len(c.Disowned) > 0 {
		for _, st := range w.stories {
			st.publish = 0 // the line goes back and continues along another one, whose packets may be older
		}
	}
	held := s.Position()
	w.through(held.Lineage, held.Next)
	return nil
}

// sealed passes the publish time of each tick of a batch to the auditor, if the batch has them.
func (w *Witness) sealed(b *subscriber.Batch) error {
	times, ok := any(b).(interface {
		ByPublishTime() iter.Seq2[int64, []feed.Tick]
	})
	if !ok {
		return nil
	}
	for publish, ticks := range times.ByPublishTime() {
		for len(ticks) > 0 {
			n := 1 // of consecutive numbers
			for n < len(ticks) && ticks[n].Seq == ticks[0].Seq+uint64(n) {
				n++
			}
			r := feed.Range{From: ticks[0].Seq, To: ticks[0].Seq + uint64(n)}
			if err := w.auditor.Sealed(w.name, b.Session, r, publish, w.Merged); err != nil {
				return err
			}
			ticks = ticks[n:]
		}
	}
	return nil
}

// aboutNow bounds the difference between the times that the subscriber and the witness read, one after the other.
const aboutNow = time.Millisecond

// recovery follows the changes of a connection, and judges the report of a recovery by the changes and ticks since the
// connection was lost.
func (w *Witness) recovery(c *subscriber.Change) error {
	switch c.State {
	case subscriber.Closed:
		w.joined, w.down = false, nil
		return nil
	case subscriber.Disconnected:
		if w.joined && w.down == nil {
			w.down = &recovery{since: time.Now(), cause: causeOf(c.Err)}
		}
		w.joined = false
	case subscriber.Connecting:
		if w.down != nil {
			w.down.attempts++
		}
	default:
		w.joined = true
	}
	if w.down != nil {
		w.down.lost = append(w.down.lost, c.Lost...)
		w.down.disowned = append(w.down.disowned, c.Disowned...)
	}
	r, d := c.Report, w.down
	if r == nil {
		return nil
	}
	if d == nil || c.State != subscriber.Live && c.State != subscriber.Ended {
		return w.broken("a report without a recovery: %v %+v", c.State, *r)
	}
	w.down = nil
	took := time.Since(d.since)
	switch {
	case r.Cause != d.cause || r.Detail == "":
		return w.broken("a report says the cause was %q (%s), it was %q", r.Cause, r.Detail, d.cause)
	case r.Attempts != d.attempts:
		return w.broken("a report says %d attempts, there were %d", r.Attempts, d.attempts)
	case r.Replayed > d.ticks: // ticks published meanwhile are not replays
		return w.broken("a report says %d ticks were replayed, there were %d", r.Replayed, d.ticks)
	case r.Live < took-aboutNow || r.Live > took+aboutNow || r.Down > r.Live || r.Down < 0:
		return w.broken("a report says down for %v and live after %v, it took %v", r.Down, r.Live, took)
	case (r.FirstTick == 0) != (d.ticks == 0), r.FirstTick < 0, r.FirstTick > r.Live:
		return w.broken("a report says the first of %d ticks came after %v, down for %v and live after %v", d.ticks, r.FirstTick, r.Down, r.Live)
	case !slices.Equal(r.Lost, d.lost) || !slices.Equal(r.Disowned, d.disowned):
		return w.broken("a report says %v were lost and %v disowned, the changes said %v and %v", r.Lost, r.Disowned, d.lost, d.disowned)
	case r.Resume == subscriber.ResumeReplay && len(d.lost)+len(d.disowned) > 0:
		return w.broken("a report says that nothing is missing, %v were lost and %v disowned", d.lost, d.disowned)
	}
	return nil
}

// causeOf returns the cause that ended a connection with err.
func causeOf(err error) subscriber.Cause {
	var refused *subscriber.RefusedError
	var protocol *subscriber.ProtocolError
	switch {
	case errors.Is(err, subscriber.ErrSilent):
		return subscriber.CauseSilent
	case errors.As(err, &refused):
		return subscriber.CauseGoodbye
	case errors.As(err, &protocol) && protocol.Missing.To > protocol.Missing.From:
		return subscriber.CauseGap
	case protocol != nil:
		return subscriber.CauseProtocol
	}
	return subscriber.CauseCut
}

// through adds the numbers of lineage below next to those that the line has covered.
func (w *Witness) through(lineage feed.Lineage, next uint64) {
	for session, r := range below(lineage, next) {
		st := w.story(session)
		st.owned = spanning(st.owned, r)
	}
}

// leave records that the lineage of the position is now l.
func (w *Witness) leave(l feed.Lineage) {
	for i := range w.lineage {
		if _, common := owns(l, w.lineage[i].ID); common {
			w.lineage = l
			return
		}
	}
	for i := range w.lineage {
		st := w.story(w.lineage[i].ID)
		st.left = union(st.withheld, st.lost)
	}
	w.lineage = l
}

func (w *Witness) story(id feed.SessionID) *story {
	st := w.stories[id]
	if st == nil {
		st = &story{}
		w.stories[id] = st
		w.order = append(w.order, id)
	}
	return st
}

func (w *Witness) broken(format string, args ...any) error {
	return fmt.Errorf("%s: "+format, append([]any{w.name}, args...)...)
}

// Judge compares the ledger of s, which must not run again, with the batches: every number that the line has
// covered must be in exactly one account, and in the right one.
func (w *Witness) Judge(s *subscriber.Subscriber) error {
	if w.err != nil {
		return w.err
	}
	held := s.Position()
	w.through(held.Lineage, held.Next)
	return w.judgeLedger(s.Ledger())
}

// judgeLedger compares a ledger with the stories.
func (w *Witness) judgeLedger(ledger *feed.Ledger) error {
	for _, id := range ledger.Sessions() {
		w.story(id)
	}
	for _, id := range w.order {
		a := ledger.Account(id)
		if err := w.judge(w.stories[id], &a); err != nil {
			return fmt.Errorf("%s: session %v: %w\n%v", w.name, id, err, ledger)
		}
	}
	return nil
}

func (w *Witness) judge(st *story, a *feed.Account) error {
	classes := []struct {
		name   string
		ranges []feed.Range
	}{
		{"delivered", a.Delivered.Ranges()},
		{"filtered", nil},
		{"withheld", a.Withheld.Ranges()},
		{"not asked", a.NotAsked.Ranges()},
		{"lost", a.Lost.Ranges()},
		{"disowned", a.Disowned.Ranges()},
	}
	for _, s := range a.Filtered {
		classes[1].ranges = append(classes[1].ranges, s.Range)
	}
	var all []feed.Range
	for _, c := range classes {
		if both := intersect(all, c.ranges); len(both) > 0 {
			return fmt.Errorf("%v is %s and something else", both[0], c.name)
		}
		once := union(c.ranges, nil)
		if n := length(c.ranges); n != length(once) {
			return fmt.Errorf("of %d numbers that are %s, %d are twice", n, c.name, n-length(once))
		}
		all = union(all, once)
	}
	required := minus([]feed.Range{st.owned}, []feed.Range{w.excused[a.Session]})
	if missing := minus(required, all); len(missing) > 0 {
		return fmt.Errorf("%v is in no account", missing[0])
	}
	delivered, filtered, disowned := classes[0].ranges, classes[1].ranges, classes[5].ranges
	if wrong := minus(delivered, st.delivered); len(wrong) > 0 {
		return fmt.Errorf("%v is accounted for as delivered, and was not", wrong[0])
	}
	if wrong := minus(minus(st.delivered, delivered), filtered); len(wrong) > 0 {
		return fmt.Errorf("%v was delivered, and is accounted for otherwise", wrong[0])
	}
	for _, s := range a.Filtered {
		if w.Wants == nil {
			break
		}
		for _, r := range minus([]feed.Range{s.Range}, st.delivered) {
			for seq := r.From; seq < r.To; seq++ {
				if symbol, known := w.auditor.Subject(a.Session, seq); known && w.Wants(symbol) {
					return fmt.Errorf("number %d is of %s, which is wanted, and was filtered", seq, symbol)
				}
			}
		}
	}
	for _, s := range a.Filtered {
		got := length(intersect(st.delivered, []feed.Range{s.Range}))
		// If a fork cut the span, the ledger has only the shares of its parts.
		if got != s.Delivered && !st.forked {
			return fmt.Errorf("%d numbers were delivered of the span %v", got, s)
		}
	}
	for _, c := range []struct {
		name         string
		reported, in []feed.Range
	}{
		{"withheld", st.withheld, classes[2].ranges},
		{"lost", st.lost, classes[4].ranges},
		{"disowned", st.disowned, disowned},
	} {
		if wrong := minus(c.in, c.reported); len(wrong) > 0 {
			return fmt.Errorf("%v is accounted for as %s, and was not reported so", wrong[0], c.name)
		}
		in := c.in
		if c.name == "disowned" {
			in = all // the numbers may have come back
		} else {
			// A filtered line that has come back passes over unwanted numbers that the publisher has after all.
			in = union(in, intersect(filtered, st.left))
		}
		// Numbers that an earlier subscriber received may be disowned without being in this account.
		if wrong := minus(minus(c.reported, in), []feed.Range{w.excused[a.Session]}); len(wrong) > 0 {
			return fmt.Errorf("%v was reported as %s, and is accounted for otherwise", wrong[0], c.name)
		}
	}
	return nil
}

// owns returns the numbers that session id owns by lineage l. It returns false if the lineage does not name the session.
func owns(l feed.Lineage, id feed.SessionID) (feed.Range, bool) {
	for i := range l {
		if l[i].ID != id {
			continue
		}
		r := feed.Range{From: l[i].First, To: ^uint64(0)}
		if i+1 < len(l) {
			r.To = l[i+1].First
		}
		return r, true
	}
	return feed.Range{}, false
}
