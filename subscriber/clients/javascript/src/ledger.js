// Lineages, and the account of every number. Numbers are bigint.

import { MAX_SEQ } from "./wire.js";

const OUTCOMES = ["delivered", "not_asked", "withheld", "lost", "expired", "disowned"];

export const min = (a, b) => (a < b ? a : b);
export const max = (a, b) => (a > b ? a : b);
export const hexadecimal = (session) => session.toString(16).padStart(16, "0");

/** Returns the session of lineage that owns seq, or undefined. */
export function owner(lineage, seq) {
  return lineage.findLast(([, first]) => first <= seq)?.[0];
}

/** Yields [session, from, to] for the numbers from start to before end. */
export function* parts(lineage, start, end) {
  for (const [i, [session, first]] of lineage.entries()) {
    const a = max(start, first), b = min(end, lineage[i + 1]?.[1] ?? MAX_SEQ);
    if (a < b) yield [session, a, b];
  }
}

/** Returns the fork of a position in the lineage ours and the lineage theirs; null without a common session. */
export function fork(ours, position, theirs) {
  const i = ours.findLastIndex(([session]) => theirs.some(([s]) => s === session));
  if (i < 0) return null;
  const j = theirs.findIndex(([s]) => s === ours[i][0]);
  return [ours[i + 1], theirs[j + 1]].reduce((least, next) => (next ? min(least, next[1]) : least), position);
}

/** A set of numbers as sorted half-open ranges, which neither overlap nor touch. */
class Ranges {
  list = [];

  has(seq) {
    return this.list.length > 0 && seq < this.list.at(-1)[1] && this.list.some(([a, b]) => a <= seq && seq < b);
  }

  add(start, end) {
    const last = this.list.at(-1);
    if (start >= end) return;
    if (last && start === last[1]) {
      last[1] = end;
    } else if (!last || start > last[1]) {
      this.list.push([start, end]);
    } else {
      const joined = this.list.filter(([a, b]) => b >= start && a <= end);
      const whole = joined.reduce(([x, y], [a, b]) => [min(x, a), max(y, b)], [start, end]);
      this.list = [...this.list.filter(([, b]) => b < start), whole, ...this.list.filter(([a]) => a > end)];
    }
  }

  remove(start, end) {
    if (!this.list.length || start >= this.list.at(-1)[1]) return;
    this.list = this.list.flatMap(([a, b]) => [[a, min(b, start)], [max(a, end), b]]).filter(([a, b]) => a < b);
  }

  /** Returns the parts of a range that are not in the set. */
  outside(start, end) {
    const rest = new Ranges();
    rest.add(start, end);
    for (const [a, b] of this.list) rest.remove(a, b);
    return rest.list;
  }
}

/** The outcome of every number of one session. */
class Account {
  of = Object.fromEntries(OUTCOMES.map((name) => [name, new Ranges()]));
  filtered = []; // [from, to, ticks] of filtered lines

  /** Gives numbers an outcome, in place of one before; what was delivered stays delivered. */
  book(outcome, start, end) {
    for (const [a, b] of this.of.delivered.outside(start, end)) {
      for (const name of OUTCOMES) if (name !== "delivered") this.of[name].remove(a, b);
      this.of[outcome].add(a, b);
    }
  }

  deliver(start, end) {
    for (const name of OUTCOMES) if (name !== "delivered") this.of[name].remove(start, end);
    this.of.delivered.add(start, end);
  }

  /** Books what a packet of a filtered line covered. */
  cover(start, end, ticks) {
    const last = this.filtered.at(-1);
    if (last?.[1] === start) {
      last[1] = end;
      last[2] += ticks;
    } else {
      this.filtered.push([start, end, ticks]);
    }
  }

  disown(start, end) {
    for (const name of OUTCOMES) this.of[name].remove(start, end);
    this.filtered = this.filtered
      .filter(([a]) => a < start)
      .map(([a, b, ticks]) => (b <= start ? [a, b, ticks] : [a, start, (ticks * (start - a)) / (b - a)]));
    this.of.disowned.add(start, end);
  }
}

/** The accounts of all sessions, in order of their first appearance. */
export class Ledger {
  #accounts = new Map();

  of(session) {
    if (!this.#accounts.has(session)) this.#accounts.set(session, new Account());
    return this.#accounts.get(session);
  }

  totals() {
    const totals = { delivered: 0n, not_asked: 0n, withheld: 0n, lost: 0n, disowned: 0n };
    for (const account of this.#accounts.values()) {
      for (const name in totals) for (const [a, b] of account.of[name].list) totals[name] += b - a;
      for (const [a, b, ticks] of account.filtered) {
        totals.delivered += ticks;
        totals.not_asked += b - a - ticks;
      }
    }
    return totals;
  }

  toObject() {
    const sessions = [...this.#accounts].map(([session, account]) => {
      const result = { session: hexadecimal(session) };
      for (const name of OUTCOMES) if (account.of[name].list.length) result[name] = account.of[name].list;
      if (account.filtered.length) result.filtered = account.filtered;
      return result;
    });
    return { sessions };
  }
}
