"""One connection, from the welcome on: bytes go in, events come out. It does no I/O and reads no clock."""

from . import wire
from .filters import matcher
from .ledger import Ledger, fork, hexadecimal, owner, parts
from .state import Names, State
from .ticks import DEFINITION, GONE, KINDS, event_of, read_tick
from .wire import MAX_DURATION, MAX_SEQ, Fields, Goodbye, Violation, require

SNAPSHOT, LIVE, BEGINNING, SEQ, TIME = range(5)
AS_ASKED, RESUMED, REWOUND, BY_SNAPSHOT = range(4)
ALL, DEFINITIONS, ADDED = range(3)

MODES = ("live", "simulation", "replay")
REASONS = ("as asked", "resumed", "rewound", "snapshot")
SCOPES = ("all", "definitions", "added")
GONE_REASONS = (None, "expired", "damaged", "denied")

_MAX_SNAPSHOT = 512 << 20
_LIFE = 4096  # so many bytes of a message that is not complete are a sign of life


class Memory:
    """What outlives a connection: position, state, filter and ledger."""

    def __init__(self, filter=(), start=(SNAPSHOT, 0), slow=0, lineage=(), next=0):
        self.filter, self.start, self.slow = wire.canonical(filter), start, slow
        self.lineage, self.next = list(lineage), next
        self.head = next  # the greatest number that is known of the lineage, and not received yet
        self.state, self.whole = State(), False  # whole: the state is that as of the position
        self.held_filter = None  # the filter that the state was taken under
        self.announced = self.filter  # the filter that the consumer knows of
        self.definitions = {}  # the last one of each id in this lineage
        self.ledger = Ledger()

    def hello(self, client, token="", heartbeat=0, max_lag=0):
        """Returns the hello for the next connection."""
        whole = self.whole and self.held_filter == self.filter
        lineage = [list(entry) for entry in self.lineage[-65:]]
        head = [wire.HELLO, 1, 1, client, token]
        tail = [*self.start, self.slow, max_lag, heartbeat, whole, lineage, self.next]
        hello = [*head, self.filter, *tail]
        if len(wire.encode(hello)) > wire.MAX_HELLO:  # all of the filter or none
            tail[5] = whole = self.whole and self.held_filter == []
            hello = [*head, [], *tail]
        return hello

    def final_state(self):
        """Yields the lines of the state at the end."""
        if self.lineage:
            session = self.lineage[-1][0]
            for tick, definition in self.state.entries(matcher(self.filter)):
                yield event_of(tick, definition, session, state=True)

    def left(self):
        event = {"event": "left"}
        if self.lineage:
            event.update(session=hexadecimal(self.lineage[-1][0]), next=self.next)
        return event | self.ledger.totals()


class Line:
    """A connection for which hello was sent."""

    def __init__(self, memory, hello):
        self.memory = memory
        self.asked, self.said_whole = hello[5], hello[11]
        self.wanted = memory.filter  # it differs from asked if the hello had no room for it
        self.matches = matcher(self.wanted)
        self.events = []
        self.buffer, self.heard, self.early = b"", 0, 0
        self.life = 0  # counts signs of life
        self.welcomed = self.unrelated = self.progressed = self.ended = self.promised = False
        self.request, self.requested = 0, None  # of the last subscribe; requested is its filter until it is answered
        self.due = None  # the scope of the snapshot that must follow
        self.snapshot = None  # the one that is open
        self.limited = False  # the line lacks something of its filter, or did when it got its state
        self.added = False  # a snapshot of scope 2 may follow, also after the end
        self.interval, self.echo, self.at = 0, 0, 0

    @property
    def caught_up(self):
        return self.at >= self.memory.head

    # What the client sends

    def subscribe(self):
        """Returns a subscribe message if the filter wanted is not that of the line, and the line can place the answer."""
        m = self.memory
        can = self.welcomed and not self.ended and self.at == m.next and self.due is None and self.snapshot is None
        if not can or self.requested is not None or m.filter == self.asked:
            return None
        self.request, self.requested = self.request + 1, m.filter
        m.held_filter = None  # until the answer
        return [wire.SUBSCRIBE, self.request, self.requested]

    def pulse(self, next):
        return [wire.PULSE, next, self.echo]

    # What the client receives

    def feed(self, data):
        """Yields the events that follow from the next bytes of the stream.

        It raises Violation or Goodbye; then the connection is over.
        """
        self.buffer += data
        at = 0
        try:
            while at < len(self.buffer):
                found = wire.split(self.buffer, at, wire.MAX_MESSAGE if self.welcomed else wire.MAX_HELLO)
                if not found:
                    break
                kind, size = found
                raw = self.buffer[at : at + size]
                at, self.heard = at + size, 0
                if kind >= wire.PASSED_OVER:
                    self.early += 0 if self.welcomed else size
                    require(self.early <= wire.MAX_EARLY, "too many bytes before the welcome")
                    continue
                self._message(kind, raw)
                yield from self._take()
        finally:
            self.buffer = self.buffer[at:]
        if len(self.buffer) >= self.heard + _LIFE:
            self.heard, self.life = len(self.buffer), self.life + 1

    def _take(self):
        events, self.events = self.events, []
        return events

    def _emit(self, name, session=None, **fields):
        event = {"event": name}
        if session is not None:
            event["session"] = hexadecimal(session)
        self.events.append(event | fields)

    def _emit_range(self, name, session, start, end, **fields):
        self._emit(name, session, **{"from": start, "to": end}, **fields)

    def _message(self, kind, raw):
        f = Fields(wire.decode(raw), f"message {kind}")
        if kind in (wire.REFUSAL, wire.GOODBYE):
            require(kind == wire.GOODBYE or not self.welcomed, "a refusal after the welcome")
            raise Goodbye(f.uint(1, 255, 1), f.people(2), f.bool(3), f.uint(4, MAX_DURATION) / 1e9, not self.welcomed)
        require(self.welcomed != (kind == wire.WELCOME), "a second welcome, or a message before it")
        inside = self.snapshot is not None
        in_snapshot = (wire.HEARTBEAT, wire.SNAPSHOT_PART, wire.SNAPSHOT_END)
        require(not inside or kind in in_snapshot, "a message that does not stand in a snapshot")
        after_end = (wire.HEARTBEAT, wire.SESSION, wire.SUBSCRIBED)
        allowed = not self.ended or inside or kind in after_end or kind == wire.SNAPSHOT_BEGIN and self.added
        require(allowed, "a message that does not stand after the end")
        handle = self._HANDLERS.get(kind)
        require(handle, f"a message of type {kind}")
        if not inside or kind != wire.HEARTBEAT:
            self.life += 1
        handle(self, f, raw)

    def _join(self, seq, what):
        if seq != self.at:
            text = f"{what} {seq}, where {self.at} is next"
            raise Violation(text, "gap" if seq > self.at else "protocol")

    def _welcome(self, f, raw):
        m = self.memory
        require(f.uint(1) == 1, "another version")
        f.people(2)
        mode, lineage, head, tail = f.uint(3, 2), f.lineage(4), f.seq(6), f.seq(7)
        f.uint(5)
        self.interval = f.uint(8, MAX_DURATION, 10**6) / 1e9
        seed, start, reason, self.echo = f.uint(9, 0xFFFFFFFF), f.seq(10), f.uint(11, 3), f.int(12)
        features = Fields(f.list(13, 16) if len(f) > 13 else [], "feature")
        for i in range(len(features)):
            features.text(i, 1, 32)
        granted, self.limited = self._granted(f, 14, self.asked), len(f) > 15
        session = owner(lineage, start)
        require(session and start <= head and tail <= head, "start, tail and head contradict each other")
        require(granted or seed == wire.seed_of(session), "the seed is not that of the session")
        position = self._position(reason, lineage, start)
        require(start <= position <= head, "a start above the position, or a position beyond the head")

        self.welcomed, self.session, self.filter, self.seed, self.at = True, session, granted, seed, start
        self._emit("connected", session, mode=MODES[mode], reason=REASONS[reason], position=position, head=head)
        if reason == REWOUND:
            self._disown(position)
        if reason == BY_SNAPSHOT:
            self.unrelated = True
            self._lose_behind()
        if reason in (AS_ASKED, BY_SNAPSHOT):
            self._book_before(lineage, start, tail, position, reason)
        kind = m.start[0]
        self.promised = reason == AS_ASKED and kind in (BEGINNING, TIME) and start < tail
        if not (reason == RESUMED and self.said_whole):
            m.whole = False
            self.due = DEFINITIONS if reason == AS_ASKED and kind == LIVE else ALL
        m.lineage, m.head = lineage, head
        self._go_to(position)
        self._announce(self.wanted if self.wanted != self.asked else granted, position)

    def _granted(self, f, i, asked):
        """Returns the filter that the line has."""
        if i >= len(f):
            return asked
        granted = f.filter(i)
        require(granted or not asked, "everything is granted, where patterns were asked for")
        return granted

    def _position(self, reason, lineage, start):
        """Returns the position that follows from a welcome."""
        m = self.memory
        require((reason == AS_ASKED) == (not m.lineage), "the reason contradicts the hello")
        if reason == AS_ASKED:
            return max(start, m.start[1]) if m.start[0] == SEQ else start
        at = fork(m.lineage, m.next, lineage)
        right = BY_SNAPSHOT if at is None else RESUMED if at == m.next else REWOUND
        require(reason == right, "the reason contradicts the lineages")
        return start if at is None else at

    def _book_before(self, lineage, start, tail, position, reason):
        """Accounts for the numbers below the position, none of which was received."""
        kind, value = self.memory.start
        oldest = lineage[0][1]
        asked = {BEGINNING: oldest, SEQ: value, TIME: oldest if start == tail else position}.get(kind, position)
        if reason == BY_SNAPSHOT:
            asked = oldest
        for session, a, b in parts(lineage, oldest, position):
            first_lost = max(a, min(b, asked))
            self.memory.ledger[session].book("not_asked", a, first_lost)
            self._lose(session, first_lost, b)

    def _lose(self, session, start, end, reason=None, outcome="lost"):
        account = self.memory.ledger[session]
        for a, b in account.of["delivered"].outside(start, end):
            account.book("lost", a, b)
            if outcome == "expired":
                account.of["expired"].add(a, b)
            self._emit_range("lost", session, a, b, **({"reason": reason} if reason else {}))

    def _lose_behind(self):
        """Accounts for the numbers of the lineage that the line leaves, from the position on."""
        for session, a, b in parts(self.memory.lineage, self.memory.next, self.memory.head):
            self._lose(session, a, b)
        self.memory.definitions = {}

    def _disown(self, position):
        for session, a, b in parts(self.memory.lineage, position, self.memory.next):
            self.memory.ledger[session].disown(a, b)
            self._emit_range("disowned", session, a, b)

    def _go_to(self, position):
        m = self.memory
        m.next = position
        if position == 1:
            m.state, m.whole, m.held_filter, self.due = State(), True, None if self.limited else self.filter, None

    def _announce(self, filter, start):
        if filter != self.memory.announced:
            self.memory.announced = filter
            self._emit("filtered", self.session, **{"from": start}, **({"filter": filter} if filter else {}))

    def _check(self, raw, checksum):
        require(wire.crc32c(self.seed, raw[1:2], raw[7:]) == checksum, "the checksum is wrong")

    def _packet(self, f, raw):
        m = self.memory
        first, count, published, base = f.seq(2), f.uint(3, 1 << 62, 1), f.int(4), f.int(5)
        end = first + count
        self._join(first, "a packet from")
        require(end <= MAX_SEQ, "a packet beyond the greatest number")
        self._check(raw, f.any(1))
        require(owner(m.lineage, first) == owner(m.lineage, end - 1) == self.session, "numbers of another session")
        items = self._items(raw[46:], first, end, base)
        start, ticks = max(first, m.next), 0
        for name, a, b, value in items:
            if b <= m.next:
                continue
            a = max(a, m.next)
            if name == "tick":
                ticks += self._deliver(value, a, published)
            elif name == "not_asked":
                if not self.filter:
                    m.ledger[self.session].book(name, a, b)
            else:
                if name == "withheld":
                    m.ledger[self.session].book(name, a, b)
                    self._emit_range(name, self.session, a, b)
                else:
                    reason = GONE_REASONS[value] if value < len(GONE_REASONS) else "unknown"
                    expired = self.promised and reason in ("expired", "denied")
                    self._lose(self.session, a, b, reason, "expired" if expired else "lost")
                self.due, m.whole = ALL, False
            m.next = b
        if self.filter and start < end and self.due is None:
            m.ledger[self.session].cover(start, end, ticks)
        self.promised = self.promised and items[0][0] == "gone"
        self.progressed = self.progressed or end > start
        self.at, m.head = end, max(m.head, end)

    def _items(self, body, at, end, base):
        """Returns the entries of a packet as (what, from, to, value), all checked."""
        items, names = [], Names(self.memory.state.names)
        for entry in wire.entries(body):
            value = None
            if type(entry) is int:
                require(entry and abs(entry) < MAX_SEQ, "a skip beyond its bound")
                what, n = "not_asked" if entry > 0 else "withheld", abs(entry)
            else:
                require(type(entry) is list and entry, "an entry that is no array")
                f = Fields(entry, "entry")
                code = f.uint(0, 255, 2)
                if code >> 1 == GONE:
                    require(code == 2 * GONE, "gone has code 20")
                    what, n, value = "gone", f.uint(1, 1 << 62, 1), f.uint(2, 255, 1)
                else:
                    what, n, value = "tick", 1, read_tick(entry, base, False)
                    if value["kind"] == DEFINITION:
                        names.define(value)
            require(n <= end - at, "entries that cover more than count")
            items.append((what, at, at + n, value))
            at += n
        require(at == end, "entries that cover less than count")
        alone = any(what in ("withheld", "gone") for what, *_ in items)
        require(not alone or len(items) == 1, "gone or withheld numbers that are not alone in their packet")
        require(alone or self.due is None, "ticks where a snapshot is due")
        return items

    def _deliver(self, tick, seq, published):
        """Folds and reports a tick; it returns how many ticks that are."""
        m = self.memory
        m.state.fold(tick)
        if tick["kind"] == DEFINITION:
            m.definitions[tick["id"]] = tick
        definition = m.definitions.get(tick["id"])
        account = m.ledger[self.session]
        if self.wanted != self.asked and not (definition and self.matches(definition)):
            if not self.filter:
                account.book("not_asked", seq, seq + 1)
            return 0
        if seq in account.of["delivered"]:
            return 0  # the line has come back to a session that it had left
        if not self.filter:
            account.deliver(seq, seq + 1)
        self.events.append(event_of(tick, definition, self.session, seq=seq, ts_publish=published))
        return 1

    def _heartbeat(self, f, raw):
        covered, head, self.echo = f.seq(1), f.seq(2), f.int(3)
        self._join(covered, "a heartbeat that covers")
        require(head >= covered, "a head below covered")
        require(not self.ended or head == covered, "a head beyond the end")
        self.memory.head = max(self.memory.head, head)

    def _begin(self, f, raw):
        seq, scope, filter = f.seq(1), f.uint(2, 2), f.filter(3)
        require(seq == self.memory.next and self.at <= seq, "a snapshot that is not as of the position")
        require(scope == ADDED or not filter, "a snapshot of everything with a filter")
        require(self.due in (None, scope), "a snapshot of another scope than that due")
        self.snapshot = _Snapshot(seq, scope, filter)

    def _part(self, f, raw):
        s = self.snapshot
        require(s is not None, "a part outside of a snapshot")
        self._check(raw, f.any(1))
        require(f.seq(2) == s.seq and f.uint(3) == s.parts, "a part of another place")
        s.add(raw, f.int(4))

    def _end_of_snapshot(self, f, raw):
        m, s = self.memory, self.snapshot
        require(s is not None, "an end outside of a snapshot")
        require(f.seq(1) == s.seq and f.uint(2) == s.parts, "a snapshot whose parts are missing")
        if s.scope == ADDED:
            m.state.replace(s.state, matcher(s.filter))
        else:
            m.state = s.state
        m.whole, m.held_filter = True, self.filter if self.requested is None and not self.limited else None
        self.snapshot, self.due, self.added, self.promised = None, None, False, False
        self._emit("snapshot", self.session, seq=s.seq, scope=SCOPES[s.scope])
        for id, instrument in s.state.instruments.items():
            m.definitions[id] = instrument.definition
        for tick, definition in s.state.entries(self.matches if self.wanted != self.asked else matcher([])):
            self.events.append(event_of(tick, definition, self.session, snapshot=True))

    def _session(self, f, raw):
        m = self.memory
        f.uint(1, 2)
        lineage, seed, next = f.lineage(2), f.uint(4, 0xFFFFFFFF), f.seq(5)
        f.uint(3)
        session = lineage[-1][0]
        require(owner(lineage, next) == session, "a session that does not own its next number")
        require(self.filter or seed == wire.seed_of(session), "the seed is not that of the session")
        at = fork(m.lineage, m.next, lineage)
        position = m.next
        if at is None:
            self._lose_behind()
            self.unrelated, position = True, next
        elif at < m.next:
            if next > at:
                raise Violation(f"a session that goes on at {next}, beyond the fork {at}", "gap" if next > self.at else "protocol")
            self._disown(at)
            position = at
        else:
            self._join(next, "a session that goes on at")
        if at != m.next:
            self.due, m.whole = ALL, False
        m.lineage, m.head = lineage, max(next, position)
        self.at, self.seed, self.session, self.ended, self.promised = next, seed, session, False, False
        self._go_to(position)

    def _subscribed(self, f, raw):
        m = self.memory
        require(self.requested is not None and f.uint(1) == self.request, "an answer to a request that was not made")
        self._join(f.seq(2), "subscribed from")
        seed = f.uint(3, 0xFFFFFFFF)
        granted, self.limited = self._granted(f, 4, self.requested), len(f) > 5
        require(granted or seed == wire.seed_of(self.session), "the seed is not that of the session")
        added = self.asked and (not self.requested or not set(self.requested) <= set(self.asked))
        self.asked = self.wanted = self.requested
        self.matches = matcher(self.wanted)
        self.filter, self.seed, self.requested = granted, seed, None
        if added:
            self.added = True
            self.due = ADDED if self.due is None else self.due
        else:
            m.held_filter = None if self.limited else granted
        self._announce(granted, self.at)

    def _end(self, f, raw):
        final = f.seq(1)
        self._join(final, "an end at")
        require(not self.ended and self.due is None, "a second end, or one where a snapshot is due")
        self.ended = True
        self._emit("end", self.session, final=final)

    _HANDLERS = {
        wire.WELCOME: _welcome, wire.PACKET: _packet, wire.HEARTBEAT: _heartbeat, wire.SNAPSHOT_BEGIN: _begin,
        wire.SNAPSHOT_PART: _part, wire.SNAPSHOT_END: _end_of_snapshot, wire.SESSION: _session,
        wire.SUBSCRIBED: _subscribed, wire.END: _end,
    }  # fmt: skip


class _Snapshot:
    """A snapshot whose end has not come."""

    def __init__(self, seq, scope, filter):
        self.seq, self.scope, self.filter = seq, scope, filter
        self.parts, self.size, self.state = 0, 0, State()

    def add(self, raw, base):
        self.parts, self.size = self.parts + 1, self.size + len(raw)
        require(self.size <= _MAX_SNAPSHOT, "a snapshot of more than 512 MiB")
        for entry in wire.entries(raw[37:]):
            require(type(entry) is list and entry, "an entry of a snapshot that is no array")
            tick = read_tick(entry, base, True)
            kind = tick["kind"]
            require(kind != GONE, "gone in a snapshot")
            known = kind == DEFINITION or kind not in KINDS or tick["id"] in self.state.instruments
            require(known, "an entry of an instrument that the snapshot has not defined")
            self.state.fold(tick)
