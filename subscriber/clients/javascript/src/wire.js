// Bytes and messages: splitting the stream, bounded decoding, checksums, and checked fields.

import { Decoder, encode as pack } from "@msgpack/msgpack";

export const MAX_HELLO = 4096;
export const MAX_MESSAGE = 65536;
export const MAX_EARLY = 16384;
export const MAX_SEQ = 1n << 63n;
export const MAX_DURATION = 86400n * 10n ** 9n;
const MAX_INT = (1n << 63n) - 1n;

export const HELLO = 1, WELCOME = 2, REFUSAL = 3, GOODBYE = 4, PACKET = 5, HEARTBEAT = 6, SNAPSHOT_BEGIN = 7, SNAPSHOT_PART = 8,
  SNAPSHOT_END = 9, SESSION = 10, SUBSCRIBE = 11, SUBSCRIBED = 12, PULSE = 13, END = 14;
export const PASSED_OVER = 64;
const LAST_TYPE = 17;

const CODES = ["", "shutdown", "busy", "version", "unauthorized", "protocol", "bad request", "slow", "silent", "internal", "done"];
export const PROTOCOL = 5, SILENT = 8, DONE = 10;

/** The server broke the protocol. Its reason is "gap" if numbers are missing, else "protocol". */
export class Violation extends Error {
  constructor(text, reason = "protocol") {
    super(text);
    this.reason = reason;
  }
}

/** The server ended the connection, by goodbye, or by refusal before the welcome. */
export class Goodbye extends Error {
  constructor(code, text, retry, after, refused) {
    super(text);
    Object.assign(this, { code: CODES[code] ?? `code ${code}`, retry, after, refused });
  }
}

export function require(ok, text, reason) {
  if (!ok) throw new Violation(text, reason);
}

// shape returns the bytes, the width of the length, and the elements of a value that begins with marker.
function shape(marker) {
  if (marker < 0x80 || marker >= 0xe0 || marker === 0xc0 || marker === 0xc2 || marker === 0xc3) return [0, 0, 0];
  if (marker < 0xa0) return [0, 0, (marker & 15) * (marker < 0x90 ? 2 : 1)];
  if (marker < 0xc0) return [marker & 31, 0, 0];
  const sizes = { 0xca: 4, 0xcb: 8, 0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8 };
  const lengths = { 0xc4: 1, 0xc5: 2, 0xc6: 4, 0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4 };
  return marker in sizes ? [sizes[marker], 0, 0] : marker in lengths ? [0, lengths[marker], 0] : null;
}

const SHAPES = Array.from({ length: 256 }, (_, marker) => shape(marker));
const isString = (marker) => (marker >= 0xa0 && marker < 0xc0) || (marker >= 0xd9 && marker <= 0xdb);
const isContainer = (marker) => (marker >= 0x80 && marker < 0xa0) || marker >= 0xdc;
const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * Returns where the msgpack value at `at` ends, or -1 if more bytes are needed. It throws a Violation as soon as the value
 * must become longer than bound bytes or nests deeper than 4.
 *
 * The library takes the float 6.0 for 6, and repairs text that is not UTF-8. So walk makes each float NaN, and each such text
 * control characters, in place: the fields that must not hold them then refuse them.
 */
export function walk(data, at, bound) {
  const limit = at + bound;
  const open = [1];
  let owed = 1, pos = at;
  while (open.length) {
    const top = open.length - 1;
    if (!open[top]) {
      open.pop();
      continue;
    }
    require(pos + owed <= limit, "a length or count beyond its bound");
    if (pos >= data.length) return -1;
    const marker = data[pos];
    require(SHAPES[marker], `the msgpack marker ${marker} is not used`);
    let [skip, width, elements] = SHAPES[marker];
    open[top]--;
    owed--;
    pos++;
    if (width) {
      require(pos + width + owed <= limit, "a length or count beyond its bound");
      if (pos + width > data.length) return -1;
      let n = 0;
      for (let i = 0; i < width; i++) n = n * 256 + data[pos++];
      if (marker < 0xdc) skip = n;
      else elements = marker < 0xde ? n : 2 * n;
    }
    require(pos + skip + elements + owed <= limit, "a length or count beyond its bound");
    if (pos + skip > data.length) return -1;
    if (marker === 0xca || marker === 0xcb) data.fill(0xff, pos, pos + skip);
    else if (skip && isString(marker)) hideMalformed(data.subarray(pos, pos + skip));
    pos += skip;
    if (isContainer(marker) && marker < 0xe0) {
      require(open.length <= 4, "nesting beyond 4");
      open.push(elements);
      owed += elements;
    }
  }
  return pos;
}

function hideMalformed(text) {
  if (text.every((byte) => byte < 0x80)) return;
  try {
    utf8.decode(text);
  } catch {
    text.fill(0x7f);
  }
}

const FIXED = {
  [PACKET]: { first: 0x97, header: 46, markers: [[2, 0xce], [7, 0xcf], [16, 0xcf], [25, 0xd3], [34, 0xd3], [43, 0xc5]] },
  [SNAPSHOT_PART]: { first: 0x96, header: 37, markers: [[2, 0xce], [7, 0xcf], [16, 0xcf], [25, 0xd3], [34, 0xc5]] },
};

/**
 * Returns type and size of the message at the start of buffer, or null if more bytes are needed. bound is for messages other
 * than packets and parts of snapshots.
 */
export function split(buffer, bound) {
  const marker = buffer[0];
  require((marker >= 0x90 && marker < 0xa0) || marker === 0xdc || marker === 0xdd, "a message is an array");
  const head = marker < 0xa0 ? 1 : marker === 0xdc ? 3 : 5;
  if (buffer.length <= head) {
    walk(buffer, 0, bound);
    return null;
  }
  const type = buffer[head];
  require((type > 0 && type <= LAST_TYPE) || (type >= PASSED_OVER && type < 128), `a message of type ${type}`);
  const fixed = bound < MAX_MESSAGE ? undefined : FIXED[type];
  if (!fixed) {
    const end = walk(buffer, 0, bound);
    return end < 0 ? null : { type, size: end };
  }
  const fits = ([offset, m]) => buffer.length <= offset || buffer[offset] === m;
  require(marker === fixed.first && fixed.markers.every(fits), "the layout of a packet");
  if (buffer.length < fixed.header) return null;
  const size = fixed.header + buffer[fixed.header - 2] * 256 + buffer[fixed.header - 1];
  return buffer.length < size ? null : { type, size };
}

const decoder = new Decoder({ useBigInt64: true, mapKeyConverter: (key) => `key ${String(key)}` });

/** Returns the elements of one message. */
export function decode(raw) {
  try {
    return decoder.decode(raw);
  } catch (e) {
    throw new Violation(e.message);
  }
}

/** Returns the entries of a body. */
export function entries(body) {
  for (let at = 0; at < body.length; ) {
    at = walk(body, at, body.length - at);
    require(at >= 0, "an entry that is not complete");
  }
  try {
    return [...decoder.decodeMulti(body)];
  } catch (e) {
    throw new Violation(e.message);
  }
}

/** Returns the bytes of a message. An integer that may need more than 32 bits must be a bigint. */
export const encode = (message) => pack(message, { useBigInt64: true });

const TABLE = Uint32Array.from({ length: 256 }, (_, c) => {
  for (let i = 0; i < 8; i++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c;
});

/** Continues the checksum seed over chunks: CRC-32C. */
export function crc32c(seed, ...chunks) {
  let c = ~seed;
  for (const chunk of chunks) {
    for (let i = 0; i < chunk.length; i++) c = TABLE[(c ^ chunk[i]) & 255] ^ (c >>> 8);
  }
  return ~c >>> 0;
}

/** Returns the seed of a full line of session. */
export function seedOf(session) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, session);
  return crc32c(0, bytes);
}

const GRAPHIC = /^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]*$/u;
const NOT_GRAPHIC = /[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]/gu;
const sizeOf = (text) => new TextEncoder().encode(text).length;

/** The elements of a message or entry, each checked when it is taken. Integers are bigint, those called small are numbers. */
export class Fields {
  constructor(elements, name) {
    this.elements = elements;
    this.name = name;
  }

  get length() {
    return this.elements.length;
  }

  bad(i) {
    return new Violation(`${this.name}: element ${i} is ${String(this.elements[i])}`.slice(0, 200));
  }

  any(i) {
    require(i < this.elements.length, `${this.name}: element ${i} is missing`);
    return this.elements[i];
  }

  int(i, least = -MAX_INT - 1n, most = MAX_INT) {
    let value = this.any(i);
    if (Number.isInteger(value)) value = BigInt(value);
    if (typeof value !== "bigint" || value < least || value > most) throw this.bad(i);
    return value;
  }

  uint(i, most = (1n << 64n) - 1n, least = 0n) {
    return this.int(i, least, most);
  }

  small(i, most, least = 0) {
    return Number(this.int(i, BigInt(least), BigInt(most)));
  }

  seq(i) {
    return this.int(i, 1n, MAX_SEQ);
  }

  size(i) {
    return this.int(i, 0n);
  }

  price(i) {
    return this.any(i) === null ? null : this.int(i, -MAX_INT);
  }

  bool(i) {
    if (typeof this.any(i) !== "boolean") throw this.bad(i);
    return this.elements[i];
  }

  /** Text for people, made harmless. */
  people(i) {
    return this.#string(i, 0, 1024).replace(NOT_GRAPHIC, "?");
  }

  text(i, least = 0, most = 64) {
    const text = this.#string(i, least, most);
    if (!GRAPHIC.test(text)) throw this.bad(i);
    return text;
  }

  optional(i) {
    return i < this.elements.length ? this.text(i) : "";
  }

  #string(i, least, most) {
    const value = this.any(i);
    if (typeof value !== "string" || value.length > most) throw this.bad(i);
    const size = sizeOf(value);
    if (size < least || size > most) throw this.bad(i);
    return value;
  }

  conditions(i) {
    const text = this.#string(i, 0, 8).replace(/\0+$/, "");
    if (!/^[ -~]*$/.test(text) || text.endsWith(" ")) throw this.bad(i);
    return text;
  }

  list(i, most) {
    const value = this.any(i);
    if (!Array.isArray(value) || value.length > most) throw this.bad(i);
    return value;
  }

  filter(i) {
    const patterns = new Fields(this.list(i, 4096), `${this.name}: pattern`);
    patterns.elements.forEach((_, j) => {
      const [symbol, venue] = cut(patterns.text(j, 1, 129));
      if (!symbol || sizeOf(symbol) > 64 || sizeOf(venue ?? "") > 64) throw patterns.bad(j);
    });
    return canonical(patterns.elements);
  }

  lineage(i) {
    const lineage = [];
    for (const entry of this.list(i, 65)) {
      require(Array.isArray(entry) && entry.length >= 2, `${this.name}: lineage`);
      const pair = new Fields(entry, `${this.name}: lineage`);
      const session = pair.uint(0, undefined, 1n), first = pair.seq(1);
      const joins = !lineage.length || first >= lineage.at(-1)[1];
      require(joins && lineage.every(([s]) => s !== session), `${this.name}: lineage`);
      lineage.push([session, first]);
    }
    require(lineage.length, `${this.name}: the lineage is empty`);
    return lineage;
  }
}

/** Returns the two parts of a pattern; the second is undefined if the venue does not matter. */
export function cut(pattern) {
  const at = pattern.indexOf("@");
  return at < 0 ? [pattern, undefined] : [pattern.slice(0, at), pattern.slice(at + 1)];
}

/** Returns the patterns sorted by their bytes, none twice; none at all if one of them is "*". */
export function canonical(patterns) {
  const byCodePoint = (a, b) => {
    const x = [...a], y = [...b];
    const i = x.findIndex((c, j) => c !== y[j]);
    return i < 0 ? x.length - y.length : i >= y.length ? 1 : x[i].codePointAt(0) - y[i].codePointAt(0);
  };
  return patterns.includes("*") ? [] : [...new Set(patterns)].sort(byCodePoint);
}

export const sameFilter = (a, b) => a !== null && b !== null && a.length === b.length && a.every((p, i) => p === b[i]);
