// One connection, from the welcome on: bytes go in, events come out. It does no I/O and reads no clock.

import { matcher } from "./filters.js";
import { Ledger, fork, hexadecimal, max, min, owner, parts } from "./ledger.js";
import { Names, State } from "./state.js";
import { DEFINITION, GONE, KINDS, eventOf, readTick } from "./ticks.js";
import * as wire from "./wire.js";
import { Fields, Goodbye, MAX_SEQ, Violation, require, sameFilter } from "./wire.js";

export const SNAPSHOT = 0, LIVE = 1, BEGINNING = 2, SEQ = 3, TIME = 4;
const AS_ASKED = 0, RESUMED = 1, REWOUND = 2, BY_SNAPSHOT = 3;
const ALL = 0, DEFINITIONS = 1, ADDED = 2;

const MODES = ["live", "simulation", "replay"];
const REASONS = ["as asked", "resumed", "rewound", "snapshot"];
const SCOPES = ["all", "definitions", "added"];
const GONE_REASONS = [null, "expired", "damaged", "denied"];

const MAX_SNAPSHOT = 512 * 2 ** 20;
const LIFE = 4096; // so many bytes of a message that is not complete are a sign of life
const MAX_COUNT = 1n << 62n;

/** What outlives a connection: position, state, filter and ledger. */
export class Memory {
  state = new State();
  whole = false; // the state is that as of the position
  heldFilter = null; // the filter that the state was taken under
  definitions = new Map(); // the last one of each id in this lineage
  ledger = new Ledger();

  constructor({ filter = [], start = SNAPSHOT, value = 0n, slow = 0, lineage = [], next = 0n }) {
    this.filter = wire.canonical(filter);
    this.announced = this.filter; // the filter that the consumer knows of
    Object.assign(this, { start, value, slow, lineage, next });
    this.head = next; // the greatest number that is known of the lineage
  }

  /** Returns the hello for the next connection: with all of the filter, or none of it if it has no room. */
  hello({ client, token = "", maxLag = 0n, heartbeat = 0n }) {
    const lineage = this.lineage.slice(-65);
    const of = (filter) => {
      const whole = this.whole && sameFilter(this.heldFilter, filter);
      return [wire.HELLO, 1, 1, client, token, filter, this.start, this.value, this.slow, maxLag, heartbeat, whole, lineage, this.next];
    };
    const hello = of(this.filter);
    return wire.encode(hello).length <= wire.MAX_HELLO ? hello : of([]);
  }

  /** Yields the lines of the state at the end. */
  *finalState() {
    if (!this.lineage.length) return;
    for (const [tick, definition] of this.state.entries(matcher(this.filter))) {
      yield eventOf(tick, definition, this.lineage.at(-1)[0], { state: true });
    }
  }

  left() {
    const position = this.lineage.length ? { session: hexadecimal(this.lineage.at(-1)[0]), next: this.next } : {};
    return { event: "left", ...position, ...this.ledger.totals() };
  }
}

/** A connection for which hello was sent. */
export class Line {
  life = 0; // counts signs of life
  welcomed = false;
  progressed = false; // it covered a number at or above the position
  unrelated = false; // it began in sessions unrelated to the position
  interval = 0; // of heartbeats, in milliseconds
  #events = [];
  #buffer = new Uint8Array(0);
  #heard = 0;
  #early = 0;
  #ended = false;
  #promised = false; // what is gone before anything else came was not promised to be kept
  #request = 0;
  #requested = null; // the filter of the last subscribe until it is answered
  #due = null; // the scope of the snapshot that must follow
  #snapshot = null; // the one that is open
  #added = false; // a snapshot of scope 2 may follow, also after the end
  #echo = 0n;
  #at = 0n;

  constructor(memory, hello) {
    this.memory = memory;
    this.asked = hello[5];
    this.saidWhole = hello[11];
    this.wanted = memory.filter; // it differs from asked if the hello had no room for it
    this.matches = matcher(this.wanted);
  }

  get caughtUp() {
    return this.#at >= this.memory.head;
  }

  // What the client sends

  /** Returns a subscribe message if the filter wanted is not that of the line, and the line can place the answer. */
  subscribe() {
    const m = this.memory;
    const can = this.welcomed && !this.#ended && this.#at === m.next && this.#due === null && !this.#snapshot;
    if (!can || this.#requested || sameFilter(m.filter, this.asked)) return null;
    this.#requested = m.filter;
    m.heldFilter = null; // until the answer
    return [wire.SUBSCRIBE, ++this.#request, this.#requested];
  }

  pulse(next) {
    return [wire.PULSE, next, this.#echo];
  }

  // What the client receives

  /**
   * Yields the events that follow from the next bytes of the stream. It throws a Violation or a Goodbye; then the connection
   * is over.
   */
  *feed(data) {
    let buffer = new Uint8Array(this.#buffer.length + data.length);
    buffer.set(this.#buffer);
    buffer.set(data, this.#buffer.length);
    while (buffer.length) {
      const found = wire.split(buffer, this.welcomed ? wire.MAX_MESSAGE : wire.MAX_HELLO);
      if (!found) break;
      const raw = buffer.subarray(0, found.size);
      buffer = buffer.subarray(found.size);
      this.#heard = 0;
      if (found.type >= wire.PASSED_OVER) {
        this.#early += this.welcomed ? 0 : found.size;
        require(this.#early <= wire.MAX_EARLY, "too many bytes before the welcome");
        continue;
      }
      this.#message(found.type, raw);
      yield* this.#events.splice(0);
    }
    this.#buffer = buffer;
    if (buffer.length >= this.#heard + LIFE) {
      this.#heard = buffer.length;
      this.life++;
    }
  }

  #emit(name, session, fields) {
    this.#events.push({ event: name, session: hexadecimal(session), ...fields });
  }

  #message(type, raw) {
    const f = new Fields(wire.decode(raw), `message ${type}`);
    if (type === wire.REFUSAL || type === wire.GOODBYE) {
      require(type === wire.GOODBYE || !this.welcomed, "a refusal after the welcome");
      const after = f.uint(4, wire.MAX_DURATION);
      throw new Goodbye(f.small(1, 255, 1), f.people(2), f.bool(3), Number(after) / 1e6, !this.welcomed);
    }
    require(this.welcomed !== (type === wire.WELCOME), "a second welcome, or a message before it");
    const inSnapshot = [wire.HEARTBEAT, wire.SNAPSHOT_PART, wire.SNAPSHOT_END].includes(type);
    require(!this.#snapshot || inSnapshot, "a message that does not stand in a snapshot");
    const afterEnd = [wire.HEARTBEAT, wire.SESSION, wire.SUBSCRIBED].includes(type) || (type === wire.SNAPSHOT_BEGIN && this.#added);
    require(!this.#ended || this.#snapshot || afterEnd, "a message that does not stand after the end");
    const life = !this.#snapshot || type !== wire.HEARTBEAT;
    switch (type) {
      case wire.WELCOME: this.#welcome(f); break;
      case wire.PACKET: this.#packet(f, raw); break;
      case wire.HEARTBEAT: this.#heartbeat(f); break;
      case wire.SNAPSHOT_BEGIN: this.#begin(f); break;
      case wire.SNAPSHOT_PART: this.#part(f, raw); break;
      case wire.SNAPSHOT_END: this.#endOfSnapshot(f); break;
      case wire.SESSION: this.#session(f); break;
      case wire.SUBSCRIBED: this.#subscribed(f); break;
      case wire.END: this.#end(f); break;
      default: throw new Violation(`a message of type ${type}`);
    }
    if (life) this.life++;
  }

  #join(seq, what) {
    require(seq === this.#at, `${what} ${seq}, where ${this.#at} is next`, seq > this.#at ? "gap" : "protocol");
  }

  #welcome(f) {
    const m = this.memory;
    require(f.uint(1) === 1n, "another version");
    f.people(2);
    const mode = f.small(3, 2), lineage = f.lineage(4), head = f.seq(6), tail = f.seq(7);
    f.uint(5);
    const interval = f.uint(8, wire.MAX_DURATION, 10n ** 6n);
    const seed = f.small(9, 0xffffffff), start = f.seq(10), reason = f.small(11, 3);
    this.#echo = f.int(12);
    const features = new Fields(f.length > 13 ? f.list(13, 16) : [], "feature");
    features.elements.forEach((_, i) => features.text(i, 1, 32));
    const granted = this.#granted(f, 14, this.asked);
    const session = owner(lineage, start);
    require(session && start <= head && tail <= head, "start, tail and head contradict each other");
    require(granted.length || seed === wire.seedOf(session), "the seed is not that of the session");
    const position = this.#position(reason, lineage, start);
    require(start <= position && position <= head, "a start above the position, or a position beyond the head");

    Object.assign(this, { welcomed: true, session, filter: granted, seed, interval: Number(interval) / 1e6 });
    this.#at = start;
    this.#emit("connected", session, { mode: MODES[mode], reason: REASONS[reason], position, head });
    if (reason === REWOUND) this.#disown(position);
    if (reason === BY_SNAPSHOT) {
      this.unrelated = true;
      this.#loseBehind();
    }
    if (reason === AS_ASKED || reason === BY_SNAPSHOT) this.#bookBefore(lineage, start, tail, position, reason);
    this.#promised = reason === AS_ASKED && (m.start === BEGINNING || m.start === TIME) && start < tail;
    if (reason !== RESUMED || !this.saidWhole) {
      m.whole = false;
      this.#due = reason === AS_ASKED && m.start === LIVE ? DEFINITIONS : ALL;
    }
    Object.assign(m, { lineage, head });
    this.#goTo(position);
    this.#announce(sameFilter(this.wanted, this.asked) ? granted : this.wanted, position);
  }

  // granted returns the filter that the line has.
  #granted(f, i, asked) {
    if (i >= f.length) return asked;
    const granted = f.filter(i);
    require(granted.length || !asked.length, "everything is granted, where patterns were asked for");
    return granted;
  }

  // position returns the position that follows from a welcome.
  #position(reason, lineage, start) {
    const m = this.memory;
    require((reason === AS_ASKED) === !m.lineage.length, "the reason contradicts the hello");
    if (reason === AS_ASKED) return m.start === SEQ ? max(start, m.value) : start;
    const at = fork(m.lineage, m.next, lineage);
    const right = at === null ? BY_SNAPSHOT : at === m.next ? RESUMED : REWOUND;
    require(reason === right, "the reason contradicts the lineages");
    return at ?? start;
  }

  // bookBefore accounts for the numbers below the position, none of which was received.
  #bookBefore(lineage, start, tail, position, reason) {
    const { start: kind, value, ledger } = this.memory;
    const oldest = lineage[0][1];
    let asked = position;
    if (reason === BY_SNAPSHOT || kind === BEGINNING || (kind === TIME && start === tail)) asked = oldest;
    else if (kind === SEQ) asked = value;
    for (const [session, a, b] of parts(lineage, oldest, position)) {
      const firstLost = max(a, min(b, asked));
      ledger.of(session).book("not_asked", a, firstLost);
      this.#lose(session, firstLost, b);
    }
  }

  #lose(session, start, end, reason, expired = false) {
    const account = this.memory.ledger.of(session);
    for (const [a, b] of account.of.delivered.outside(start, end)) {
      account.book("lost", a, b);
      if (expired) account.of.expired.add(a, b);
      this.#emit("lost", session, { from: a, to: b, ...(reason && { reason }) });
    }
  }

  // loseBehind accounts for the numbers of the lineage that the line leaves, from the position on.
  #loseBehind() {
    const m = this.memory;
    for (const [session, a, b] of parts(m.lineage, m.next, m.head)) this.#lose(session, a, b);
    m.definitions = new Map();
  }

  #disown(position) {
    for (const [session, a, b] of parts(this.memory.lineage, position, this.memory.next)) {
      this.memory.ledger.of(session).disown(a, b);
      this.#emit("disowned", session, { from: a, to: b });
    }
  }

  #goTo(position) {
    this.memory.next = position;
    if (position !== 1n) return;
    Object.assign(this.memory, { state: new State(), whole: true, heldFilter: this.filter });
    this.#due = null;
  }

  #announce(filter, from) {
    if (sameFilter(filter, this.memory.announced)) return;
    this.memory.announced = filter;
    this.#emit("filtered", this.session, { from, ...(filter.length && { filter }) });
  }

  #check(raw, checksum) {
    require(wire.crc32c(this.seed, raw.subarray(1, 2), raw.subarray(7)) === Number(checksum), "the checksum is wrong");
  }

  #packet(f, raw) {
    const m = this.memory;
    const first = f.seq(2), end = first + f.uint(3, MAX_COUNT, 1n), published = f.int(4), base = f.int(5);
    this.#join(first, "a packet from");
    require(end <= MAX_SEQ, "a packet beyond the greatest number");
    this.#check(raw, f.any(1));
    const owned = owner(m.lineage, first) === this.session && owner(m.lineage, end - 1n) === this.session;
    require(owned, "numbers of another session");
    const items = this.#items(raw.subarray(46), first, end, base);
    const start = max(first, m.next), account = m.ledger.of(this.session);
    let ticks = 0n;
    for (const { what, from, to, tick, reason } of items) {
      if (to <= m.next) continue;
      const a = max(from, m.next);
      if (what === "tick") {
        ticks += this.#deliver(account, tick, a, published);
      } else if (what === "not_asked") {
        if (!this.filter.length) account.book(what, a, to);
      } else {
        if (what === "withheld") {
          account.book(what, a, to);
          this.#emit(what, this.session, { from: a, to });
        } else {
          const name = GONE_REASONS[reason] ?? "unknown";
          this.#lose(this.session, a, to, name, this.#promised && (name === "expired" || name === "denied"));
        }
        this.#due = ALL;
        m.whole = false;
      }
      m.next = to;
    }
    if (this.filter.length && start < end && this.#due === null) account.cover(start, end, ticks);
    this.#promised &&= items[0].what === "gone";
    this.progressed ||= end > start;
    this.#at = end;
    m.head = max(m.head, end);
  }

  // items returns the entries of a packet, all checked.
  #items(body, first, end, base) {
    const items = [], names = new Names(this.memory.state.names);
    let at = first;
    for (const entry of wire.entries(body)) {
      const item = { what: "tick", from: at };
      let n = 1n;
      if (Array.isArray(entry) && entry.length) {
        const f = new Fields(entry, "entry");
        const code = f.small(0, 255, 2);
        if (code >> 1 === GONE) {
          require(code === 2 * GONE, "gone has code 20");
          n = f.uint(1, MAX_COUNT, 1n);
          Object.assign(item, { what: "gone", reason: f.small(2, 255, 1) });
        } else {
          item.tick = readTick(entry, base, false);
          if (item.tick.kind === DEFINITION) names.define(item.tick);
        }
      } else {
        n = new Fields([entry], "skip").int(0);
        require(n !== 0n, "a skip of nothing");
        item.what = n > 0n ? "not_asked" : "withheld";
        n = n < 0n ? -n : n;
      }
      require(n <= end - at, "entries that cover more than count");
      at += n;
      items.push({ ...item, to: at });
    }
    require(at === end, "entries that cover less than count");
    const alone = items.some(({ what }) => what === "withheld" || what === "gone");
    require(!alone || items.length === 1, "gone or withheld numbers that are not alone in their packet");
    require(alone || this.#due === null, "ticks where a snapshot is due");
    return items;
  }

  // deliver folds and reports a tick; it returns how many ticks that are.
  #deliver(account, tick, seq, published) {
    const m = this.memory;
    m.state.fold(tick);
    if (tick.kind === DEFINITION) m.definitions.set(tick.id, tick);
    const definition = m.definitions.get(tick.id);
    if (!sameFilter(this.wanted, this.asked) && !(definition && this.matches(definition))) {
      if (!this.filter.length) account.book("not_asked", seq, seq + 1n);
      return 0n;
    }
    if (account.of.delivered.has(seq)) return 0n; // the line has come back to a session that it had left
    if (!this.filter.length) account.deliver(seq, seq + 1n);
    this.#events.push(eventOf(tick, definition, this.session, { seq, ts_publish: published }));
    return 1n;
  }

  #heartbeat(f) {
    const covered = f.seq(1), head = f.seq(2);
    this.#echo = f.int(3);
    this.#join(covered, "a heartbeat that covers");
    require(head >= covered, "a head below covered");
    require(!this.#ended || head === covered, "a head beyond the end");
    this.memory.head = max(this.memory.head, head);
  }

  #begin(f) {
    const seq = f.seq(1), scope = f.small(2, 2), filter = f.filter(3);
    require(seq === this.memory.next && this.#at <= seq, "a snapshot that is not as of the position");
    require(scope === ADDED || !filter.length, "a snapshot of everything with a filter");
    require(this.#due === null || this.#due === scope, "a snapshot of another scope than that due");
    this.#snapshot = { seq, scope, filter, parts: 0n, size: 0, state: new State() };
  }

  #part(f, raw) {
    const s = this.#snapshot;
    require(s, "a part outside of a snapshot");
    this.#check(raw, f.any(1));
    require(f.seq(2) === s.seq && f.uint(3) === s.parts, "a part of another place");
    const base = f.int(4);
    s.parts++;
    s.size += raw.length;
    require(s.size <= MAX_SNAPSHOT, "a snapshot of more than 512 MiB");
    for (const entry of wire.entries(raw.subarray(37))) {
      require(Array.isArray(entry) && entry.length, "an entry of a snapshot that is no array");
      const tick = readTick(entry, base, true);
      require(tick.kind !== GONE, "gone in a snapshot");
      const known = tick.kind === DEFINITION || !KINDS[tick.kind] || s.state.instruments.has(tick.id);
      require(known, "an entry of an instrument that the snapshot has not defined");
      s.state.fold(tick);
    }
  }

  #endOfSnapshot(f) {
    const m = this.memory, s = this.#snapshot;
    require(s, "an end outside of a snapshot");
    require(f.seq(1) === s.seq && f.uint(2) === s.parts, "a snapshot whose parts are missing");
    if (s.scope === ADDED) m.state.replace(s.state, matcher(s.filter));
    else m.state = s.state;
    m.whole = true;
    m.heldFilter = this.#requested ? null : this.filter;
    this.#snapshot = this.#due = null;
    this.#added = this.#promised = false;
    this.#emit("snapshot", this.session, { seq: s.seq, scope: SCOPES[s.scope] });
    for (const [id, { definition }] of s.state.instruments) m.definitions.set(id, definition);
    const matches = sameFilter(this.wanted, this.asked) ? () => true : this.matches;
    for (const [tick, definition] of s.state.entries(matches)) {
      this.#events.push(eventOf(tick, definition, this.session, { snapshot: true }));
    }
  }

  #session(f) {
    const m = this.memory;
    f.small(1, 2);
    const lineage = f.lineage(2), seed = f.small(4, 0xffffffff), next = f.seq(5);
    f.uint(3);
    const session = lineage.at(-1)[0];
    require(owner(lineage, next) === session, "a session that does not own its next number");
    require(this.filter.length || seed === wire.seedOf(session), "the seed is not that of the session");
    const at = fork(m.lineage, m.next, lineage);
    let position = m.next;
    if (at === null) {
      this.#loseBehind();
      this.unrelated = true;
      position = next;
    } else if (at < m.next) {
      const text = `a session that goes on at ${next}, beyond the fork ${at}`;
      require(next <= at, text, next > this.#at ? "gap" : "protocol");
      this.#disown(at);
      position = at;
    } else {
      this.#join(next, "a session that goes on at");
    }
    if (at !== m.next) {
      this.#due = ALL;
      m.whole = false;
    }
    Object.assign(m, { lineage, head: max(next, position) });
    Object.assign(this, { seed, session });
    this.#at = next;
    this.#ended = this.#promised = false;
    this.#goTo(position);
  }

  #subscribed(f) {
    const requested = this.#requested;
    require(requested && f.uint(1) === BigInt(this.#request), "an answer to a request that was not made");
    this.#join(f.seq(2), "subscribed from");
    const seed = f.small(3, 0xffffffff), granted = this.#granted(f, 4, requested);
    require(granted.length || seed === wire.seedOf(this.session), "the seed is not that of the session");
    const added = this.asked.length && (!requested.length || requested.some((pattern) => !this.asked.includes(pattern)));
    Object.assign(this, { asked: requested, wanted: requested, matches: matcher(requested), filter: granted, seed });
    this.#requested = null;
    if (added) {
      this.#added = true;
      this.#due ??= ADDED;
    } else {
      this.memory.heldFilter = granted;
    }
    this.#announce(granted, this.#at);
  }

  #end(f) {
    const final = f.seq(1);
    this.#join(final, "an end at");
    require(!this.#ended && this.#due === null, "a second end, or one where a snapshot is due");
    this.#ended = true;
    this.#emit("end", this.session, { final });
  }
}
