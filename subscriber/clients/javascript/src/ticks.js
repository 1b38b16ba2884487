// Ticks: reading an entry of a body, and writing it as a line of output.
//
// A tick is an object with the names of codec/CLIENT.md; prices and sizes are bigint, in the exponents of its instrument. Its
// kind is the number of its kind, and id that of its instrument.

import { hexadecimal } from "./ledger.js";
import { Fields, require } from "./wire.js";

export const DEFINITION = 1, QUOTE = 2, TRADE = 3, CORRECTION = 4, CANCEL = 5, LEVEL = 6, CLEAR = 7, STATUS = 8, SUMMARY = 9, GONE = 10,
  AUCTION = 11;
export const KINDS = {
  [DEFINITION]: "definition", [QUOTE]: "quote", [TRADE]: "trade", [CORRECTION]: "correction", [CANCEL]: "cancel", [LEVEL]: "level",
  [CLEAR]: "clear", [STATUS]: "status", [SUMMARY]: "summary", [AUCTION]: "auction",
};
const STATUSES = ["unknown", "pre-open", "trading", "halted", "auction", "closed"];
const AUCTIONS = ["unknown", "opening", "closing", "intraday", "halt", "ipo"];
const AGGRESSORS = [null, "buy", "sell"];
const SIDES = [null, "bid", "ask", "both"];
export const PRICES = new Set(["bid", "ask", "price", "old_price", "open", "high", "low", "last", "tick_size"]);
export const SIZES = new Set(["bid_size", "ask_size", "size", "old_size", "imbalance", "last_size", "volume", "lot"]);

const MAX_DAY = 99991231;
const BEYOND = 1n << 62n;

function checkTime(time) {
  require(time >= -BEYOND && time < BEYOND, "a time beyond its bound");
  return time;
}

/** Returns the tick that an entry holds; base is the base event time. */
export function readTick(entry, base, inSnapshot) {
  const f = new Fields(entry, "tick");
  const code = f.small(0, 255, 2);
  const tick = { kind: code >> 1, id: f.small(1, (1 << 24) - 1), ts_event: checkTime(base + f.int(2)), more: (code & 1) === 1 };
  return Object.assign(tick, READERS[tick.kind]?.(f, base, inSnapshot, tick.ts_event));
}

const trade = (f) => ({
  price: f.price(3), size: f.size(4), side: AGGRESSORS[f.small(5, 2)], trade_id: f.uint(6), conditions: f.conditions(7),
});

const later = (f, i, time) => (f.any(i) === null ? null : checkTime(time + f.int(i)));

const READERS = {
  [DEFINITION]: (f) => ({
    symbol: f.text(3, 1), venue: f.text(4), price_exponent: f.small(5, 18, -18), size_exponent: f.small(6, 18, -18),
    currency: f.text(7), tick_size: f.size(8), lot: f.size(9),
  }),
  [QUOTE]: (f) => ({ bid: f.price(3), bid_size: f.size(4), ask: f.price(5), ask_size: f.size(6) }),
  [TRADE]: (f) => ({ ...trade(f), trade_ref: f.optional(8) }),
  [CORRECTION]: (f) => ({ ...trade(f), old_price: f.price(8), old_size: f.size(9), trade_ref: f.optional(10) }),
  [CANCEL]: (f) => ({ price: f.price(3), size: f.size(4), trade_id: f.uint(5), trade_ref: f.optional(6) }),
  [LEVEL]: (f) => {
    const level = { side: SIDES[f.small(3, 2, 1)], price: f.price(4), size: f.size(5) };
    require(level.price !== null, "a level without a price");
    return level;
  },
  [CLEAR]: (f) => ({ side: SIDES[f.small(3, 3, 1)] }),
  [STATUS]: (f, base, inSnapshot, time) => ({
    status: f.small(3, 255), trading_day: f.small(4, MAX_DAY), reason: f.optional(5),
    expected_end: f.length > 6 ? later(f, 6, time) : null,
  }),
  [SUMMARY]: (f, base, inSnapshot) => {
    require(inSnapshot, "a summary outside of a snapshot");
    return {
      trading_day: f.small(3, MAX_DAY), open: f.price(4), high: f.price(5), low: f.price(6), last: f.price(7), last_size: f.size(8),
      last_side: AGGRESSORS[f.small(9, 2)], last_time: checkTime(base + f.int(10)), volume: f.size(11), trades: f.size(12),
      trade_id: f.uint(13), trade_ref: f.optional(14),
    };
  },
  [AUCTION]: (f, base, inSnapshot, time) => {
    require(!inSnapshot, "an auction in a snapshot");
    return {
      auction: f.small(3, 255), price: f.price(4), size: f.size(5), side: AGGRESSORS[f.small(6, 2)], imbalance: f.size(7),
      expected_time: later(f, 8, time),
    };
  },
};

const INTERNAL = new Set(["kind", "id", "more", "trade_ref", "symbol", "venue", "price_exponent", "size_exponent", "ts_event"]);
const OPTIONAL = new Set([
  "side", "last_side", "trade_id", "conditions", "currency", "tick_size", "lot", "trading_day", "reason",
]);
const EXPECTED = new Set(["expected_end", "expected_time"]);
const UNDEFINED = { symbol: "", venue: "", price_exponent: 0, size_exponent: 0 };

/** Returns tick as codec/CLIENT.md prints it with --raw; definition is undefined if the instrument has none. */
export function eventOf(tick, definition, session, head) {
  const d = definition ?? UNDEFINED;
  const event = {
    session: hexadecimal(session), ...head, type: KINDS[tick.kind] ?? `kind(${tick.kind})`, symbol: d.symbol, venue: d.venue, raw: true,
    price_exponent: d.price_exponent, size_exponent: d.size_exponent, ts_event: tick.ts_event,
  };
  for (let [name, value] of Object.entries(tick)) {
    if (name === "trade_id") value = tick.trade_ref || (value ? String(value) : null);
    else if (name === "status") value = STATUSES[value] ?? `status(${value})`;
    else if (name === "auction") value = AUCTIONS[value] ?? `auction(${value})`;
    const leftOut = EXPECTED.has(name) ? value === null : OPTIONAL.has(name) && !value;
    if (!INTERNAL.has(name) && !leftOut) event[name] = value;
  }
  if (tick.more) event.more = true;
  return event;
}

/** Returns an event with its prices and sizes as decimal text, all digits kept; one that is no tick is returned as it is. */
export function decimals(event) {
  if (!event.type) return event;
  const { raw, price_exponent, size_exponent, ...result } = event;
  for (const name in result) {
    const exponent = PRICES.has(name) ? price_exponent : SIZES.has(name) ? size_exponent : undefined;
    if (exponent !== undefined && result[name] !== null) result[name] = decimal(result[name], exponent);
  }
  return event.type === "definition" ? { ...result, price_exponent, size_exponent } : result;
}

function decimal(value, exponent) {
  if (exponent >= 0) return String(value * 10n ** BigInt(exponent));
  const digits = String(value < 0n ? -value : value).padStart(1 - exponent, "0");
  return `${value < 0n ? "-" : ""}${digits.slice(0, exponent)}.${digits.slice(exponent)}`;
}
