// The state: what ticks fold into, instrument by instrument.

import { max, min } from "./ledger.js";
import { CANCEL, CLEAR, CORRECTION, DEFINITION, LEVEL, QUOTE, STATUS, SUMMARY, TRADE } from "./ticks.js";
import { Violation } from "./wire.js";

const MAX_LEVELS = 4096;
const MAX_SIZE = (1n << 63n) - 1n;
const DAY_PRICES = ["open", "high", "low", "last"];
const DAY_SIZES = ["last_size", "volume"];

/** Returns a day without trades. */
const newDay = (date) => ({
  trading_day: date, open: null, high: null, low: null, last: null, last_size: 0n, last_side: null, last_time: 0n, volume: 0n,
  trades: 0n, trade_id: 0n, trade_ref: "",
});

const newBook = () => ({ bid: new Map(), ask: new Map() });

/** The id of each symbol at a venue. It refuses a second id for one. With a base it holds what differs from that. */
export class Names {
  #ids = new Map();
  #names = new Map();

  constructor(base) {
    this.base = base;
  }

  id(name) {
    return this.#ids.has(name) ? this.#ids.get(name) : this.base?.id(name);
  }

  name(id) {
    return this.#names.has(id) ? this.#names.get(id) : this.base?.name(id);
  }

  define(tick) {
    const name = `${tick.symbol}\0${tick.venue}`;
    if ((this.id(name) ?? tick.id) !== tick.id) throw new Violation(`${tick.symbol} has a second id`);
    const old = this.name(tick.id);
    if (old !== undefined) this.#ids.set(old, undefined);
    this.#ids.set(name, tick.id);
    this.#names.set(tick.id, name);
  }
}

class Instrument {
  quote = null;
  day = newDay(0);
  status = { status: 0, ts_event: 0n, reason: "", expected_end: null };
  book = newBook();

  constructor(definition) {
    this.definition = definition;
  }

  fold(t) {
    FOLDS[t.kind]?.(this, t);
  }

  stretch(price) {
    if (price === null) return;
    this.day.high = this.day.high === null ? price : max(this.day.high, price);
    this.day.low = this.day.low === null ? price : min(this.day.low, price);
  }

  rescale(price, size) {
    const p = (value) => scaled(value, price), s = (value) => scaled(value, size);
    try {
      const q = this.quote;
      const quote = q && { ...q, bid: p(q.bid), bid_size: s(q.bid_size), ask: p(q.ask), ask_size: s(q.ask_size) };
      const day = { ...this.day };
      for (const name of DAY_PRICES) day[name] = p(day[name]);
      for (const name of DAY_SIZES) day[name] = s(day[name]);
      const book = newBook();
      for (const side in book) {
        for (const t of this.book[side].values()) book[side].set(p(t.price), { ...t, price: p(t.price), size: s(t.size) });
      }
      Object.assign(this, { quote, day, book });
    } catch (e) {
      if (!(e instanceof RangeError)) throw e;
      Object.assign(this, { quote: null, day: newDay(this.day.trading_day), book: newBook() });
    }
  }

  /** Yields the ticks that fold into the instrument, in the order of a snapshot. */
  *entries() {
    const { definition, status, day } = this;
    const head = { id: definition.id, more: false };
    yield { ...definition, ts_event: 0n, more: false };
    if (day.trading_day || Object.values(status).some(Boolean)) {
      yield { ...head, kind: STATUS, trading_day: day.trading_day, ...status };
    }
    const empty = newDay(day.trading_day);
    if (Object.keys(day).some((name) => day[name] !== empty[name])) {
      yield { ...head, kind: SUMMARY, ts_event: day.last_time, ...day };
    }
    if (this.quote) yield { ...this.quote, more: false };
    for (const [side, levels] of Object.entries(this.book)) {
      const prices = [...levels.keys()].sort((a, b) => (a < b ? -1 : 1));
      for (const price of side === "bid" ? prices.reverse() : prices) yield { ...levels.get(price), more: false };
    }
  }
}

const FOLDS = {
  [DEFINITION](instrument, t) {
    const old = instrument.definition;
    const price = old.price_exponent - t.price_exponent, size = old.size_exponent - t.size_exponent;
    instrument.definition = t;
    if (price || size) instrument.rescale(price, size);
  },
  [QUOTE](instrument, t) {
    instrument.quote = t;
  },
  [TRADE](instrument, t) {
    const day = instrument.day;
    day.open ??= t.price;
    instrument.stretch(t.price);
    Object.assign(day, { last: t.price, last_size: t.size, last_side: t.side, last_time: t.ts_event });
    Object.assign(day, { trade_id: t.trade_id, trade_ref: t.trade_ref });
    day.volume = min(day.volume + t.size, MAX_SIZE);
    day.trades = min(day.trades + 1n, MAX_SIZE);
  },
  [CORRECTION](instrument, t) {
    const day = instrument.day;
    if (!day.trades) return;
    day.volume = max(min(day.volume + t.size, MAX_SIZE) - t.old_size, 0n);
    instrument.stretch(t.price);
    const named = (t.trade_id || t.trade_ref) && (day.trade_id || day.trade_ref);
    const same = named
      ? t.trade_id === day.trade_id && t.trade_ref === day.trade_ref
      : t.old_price === day.last && t.old_size === day.last_size;
    if (same) Object.assign(day, { last: t.price, last_size: t.size, last_side: t.side ?? day.last_side });
  },
  [CANCEL](instrument, t) {
    const day = instrument.day;
    if (!day.trades) return;
    day.volume = max(day.volume - t.size, 0n);
    day.trades -= 1n;
    if (!day.trades) instrument.day = newDay(day.trading_day);
  },
  [LEVEL](instrument, t) {
    const levels = instrument.book[t.side];
    if (!t.size) {
      levels.delete(t.price);
      return;
    }
    levels.set(t.price, t);
    if (levels.size > MAX_LEVELS) levels.delete([...levels.keys()].reduce(t.side === "bid" ? min : max));
  },
  [CLEAR](instrument, t) {
    for (const side in instrument.book) if (t.side === side || t.side === "both") instrument.book[side] = new Map();
  },
  [STATUS](instrument, t) {
    instrument.status = { status: t.status, ts_event: t.ts_event, reason: t.reason, expected_end: t.expected_end };
    if (t.trading_day) instrument.day = newDay(t.trading_day);
  },
  [SUMMARY](instrument, t) {
    for (const name in instrument.day) instrument.day[name] = t[name];
  },
};

export class State {
  instruments = new Map();
  names = new Names();

  fold(tick) {
    const instrument = this.instruments.get(tick.id);
    if (tick.kind === DEFINITION) {
      this.names.define(tick);
      if (!instrument) this.instruments.set(tick.id, new Instrument(tick));
    }
    instrument?.fold(tick);
  }

  /** Replaces the instruments that matches selects by those of part, another state. */
  replace(part, matches) {
    const kept = [...this.instruments].filter(([, instrument]) => !matches(instrument.definition));
    const instruments = new Map([...kept, ...part.instruments]), names = new Names();
    for (const instrument of instruments.values()) names.define(instrument.definition);
    Object.assign(this, { instruments, names });
  }

  /** Yields [tick, definition], instrument by instrument. */
  *entries(matches) {
    for (const id of [...this.instruments.keys()].sort((a, b) => a - b)) {
      const instrument = this.instruments.get(id);
      if (!matches(instrument.definition)) continue;
      for (const tick of instrument.entries()) yield [tick, instrument.definition];
    }
  }
}

// scaled returns value times a power of ten; it throws a RangeError if that is no integer of 64 bits.
function scaled(value, power) {
  if (value === null || !power) return value;
  const factor = 10n ** BigInt(Math.abs(power));
  const result = power > 0 ? value * factor : value / factor;
  if ((power < 0 && value % factor) || result > MAX_SIZE || result < -MAX_SIZE) throw new RangeError("no integer of 64 bits");
  return result;
}
