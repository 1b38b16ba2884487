// The subscriber: it connects, notices dead peers and reconnects, over any socket.

import { hexadecimal } from "./ledger.js";
import { Line, Memory } from "./line.js";
import * as wire from "./wire.js";
import { Fields, Goodbye, Violation } from "./wire.js";

const WELCOME_WITHIN = 5000; // milliseconds, as all times here
const SAVE_EVERY = 1000;
const FIRST_BOUND = 100, LAST_BOUND = 30000;
const GRACE = 10; // what has arrived already is read before a peer counts as dead

/** How long to wait before each attempt to connect. */
export class Backoff {
  #bound = 0;

  constructor(random = Math.random) {
    this.random = random;
  }

  /**
   * Notes an attempt and returns the time to wait before the next one. good: the line made progress; broken: the connection
   * ended in a way that it would end again at once.
   */
  attempted(good, lasted, broken) {
    if (good || lasted > Math.max(this.#bound, FIRST_BOUND)) this.#bound = 0;
    if (broken) this.#bound = Math.max(this.#bound, FIRST_BOUND);
    const wait = this.random() * this.#bound;
    this.#bound = Math.min(Math.max(2 * this.#bound, FIRST_BOUND), LAST_BOUND);
    return wait;
  }
}

/**
 * A subscriber. Iterating over it connects, and yields the events of codec/CLIENT.md as objects, ticks among them, until close is
 * called or the publisher forbids to come back. Numbers, times, prices and sizes are bigint; see decimals.
 *
 * connect returns a promise of a socket: send(bytes), close(), and asynchronous iteration over the chunks received, which ends or
 * throws once the connection is over. store, if given, keeps the position: load() returns { lineage: [{ session, first }], next }
 * or null, and save(position) keeps one; both may return promises. Before each save the subscriber waits for onSave, which must
 * make the output of all events so far durable. It calls onIdle before it waits for the publisher.
 *
 * filter is a list of patterns, start one of the constants with its value, slow 0 to 2 (all, latest, disconnect), maxLag and
 * heartbeat nanoseconds as bigint, or 0n for the publisher's choice.
 */
export class Subscriber {
  #connect;
  #store;
  #onSave;
  #onIdle;
  #options;
  #closing = false;
  #over = false;
  #wake = () => {};
  #socket = null;
  #line = null;
  #backoff = new Backoff();
  #saved = 0n;
  #savedLineage = null;
  #savedAt = -Infinity;

  constructor({ connect, filter = [], start, value, slow, store, onSave = () => {}, onIdle = () => {}, token, maxLag, heartbeat, client }) {
    this.#connect = connect;
    this.#store = store;
    this.#onSave = onSave;
    this.#onIdle = onIdle;
    this.#options = { client: client ?? "tickfeed-javascript", token, maxLag, heartbeat };
    this.memory = new Memory({ filter: checked(filter), start, value, slow });
  }

  /** Makes the iteration end with "left". */
  close() {
    if (this.#closing) return;
    this.#closing = true;
    this.#bye(wire.DONE, "", false);
    this.#wake();
  }

  /** Changes the filter as soon as the publisher can answer. */
  subscribe(filter) {
    this.memory.filter = checked(filter);
    this.#ask();
  }

  async *[Symbol.asyncIterator]() {
    await this.#load();
    while (!this.#closing && !this.#over) {
      const wait = yield* this.#attempt();
      yield* this.#save(0);
      if (!this.#over) await this.#sleep(wait);
    }
    yield this.memory.left();
  }

  async #load() {
    const position = await this.#store?.load();
    if (!position?.lineage.length) return;
    const pairs = position.lineage.map(({ session, first }) => [BigInt(`0x${session}`), BigInt(first)]);
    try {
      const lineage = new Fields([pairs], "position").lineage(0), next = new Fields([BigInt(position.next)], "position").seq(0);
      Object.assign(this.memory, { lineage, next, head: next });
    } catch (e) {
      throw new TypeError(`the saved position is wrong: ${e.message}`);
    }
  }

  async #sleep(wait) {
    this.#onIdle();
    if (this.#closing) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #send(message) {
    try {
      this.#socket?.send(wire.encode(message));
    } catch {
      // the reader finds the connection cut
    }
  }

  #bye(code, text, retry) {
    this.#send([wire.GOODBYE, code, text, retry, 0]);
    this.#socket?.close();
    this.#socket = null;
  }

  #ask() {
    const message = this.#line?.subscribe();
    if (message) this.#send(message);
  }

  // attempt yields the events of one connection, and returns the time to wait after it.
  async *#attempt() {
    const began = performance.now();
    try {
      this.#socket = await this.#connect();
    } catch {
      return this.#backoff.attempted(false, 0, false);
    }
    if (this.#closing) {
      this.#socket.close();
      this.#socket = null;
      return 0;
    }
    const hello = this.memory.hello(this.#options);
    const line = (this.#line = new Line(this.memory, hello));
    let ending = { cause: "cut" }, after = 0, broken = false, left = true;
    try {
      this.#send(hello);
      yield* this.#receive(this.#socket, line);
      left = false;
    } catch (e) {
      left = false;
      if (e instanceof Violation) {
        ending = { cause: e.reason, detail: e.message };
        broken = true;
        this.#bye(wire.PROTOCOL, e.message.slice(0, 200), true);
      } else if (e instanceof Goodbye) {
        ending = { cause: e.refused ? "refused" : "goodbye", code: e.code, detail: e.message };
        this.#over = !e.retry;
        after = e.after;
      } else if (e instanceof Silent) {
        ending = { cause: "silent" };
      } else if (e instanceof Cut) {
        ending.detail = e.message;
      } else {
        throw e;
      }
    } finally {
      if (left) this.#bye(wire.DONE, "", false); // the consumer left the loop
      this.#line = null;
      this.#socket?.close();
      this.#socket = null;
    }
    if (this.#closing) return 0;
    yield { event: "disconnected", ...ending };
    broken ||= this.memory.slow === 2 && ending.cause === "cut" && !line.caughtUp;
    return Math.max(after, this.#backoff.attempted(line.progressed || line.unrelated, performance.now() - began, broken));
  }

  // receive yields the events of a line until the connection has ended.
  async *#receive(socket, line) {
    const chunks = socket[Symbol.asyncIterator]();
    let waited = 0, life = 0, pulses, dead = null, applied = this.memory.next;
    const die = () => {
      dead = line.welcomed ? new Silent() : new Cut("no answer to the hello");
      if (line.welcomed) this.#bye(wire.SILENT, "nothing heard for three intervals", true);
      else socket.close();
    };
    try {
      for (;;) {
        this.#onIdle();
        const limit = line.welcomed ? 3 * line.interval : WELCOME_WITHIN;
        const from = performance.now();
        let timer = setTimeout(() => (timer = setTimeout(die, GRACE)), Math.max(0, limit - waited));
        let chunk;
        try {
          chunk = await chunks.next();
        } catch (e) {
          throw dead ?? new Cut(e.message);
        } finally {
          clearTimeout(timer);
          waited += performance.now() - from; // the time that the consumer takes is not the publisher's
        }
        if (dead) throw dead;
        if (chunk.done) return;
        yield* line.feed(chunk.value);
        applied = this.memory.next;
        yield* this.#save(SAVE_EVERY);
        if (this.#closing) return;
        this.#ask();
        if (line.life !== life) {
          life = line.life;
          waited = 0;
          if (line.welcomed) pulses ??= setInterval(() => this.#send(line.pulse(applied)), line.interval);
        }
      }
    } finally {
      clearInterval(pulses);
    }
  }

  async *#save(every) {
    const { lineage, next } = this.memory;
    const saved = this.#saved === next && this.#savedLineage === lineage;
    if (!this.#store || !lineage.length || saved || performance.now() < this.#savedAt + every) return;
    await this.#onSave();
    await this.#store.save({ lineage: lineage.slice(-65).map(([session, first]) => ({ session: hexadecimal(session), first })), next });
    this.#saved = next;
    this.#savedLineage = lineage;
    this.#savedAt = performance.now();
    yield { event: "saved", session: hexadecimal(lineage.at(-1)[0]), next };
  }
}

/** The publisher gave no sign of life for three intervals. */
class Silent extends Error {}

/** The connection was cut. */
class Cut extends Error {}

function checked(filter) {
  try {
    filter = new Fields([[...filter]], "filter").filter(0);
  } catch (e) {
    throw new TypeError(e.message);
  }
  if (wire.encode([wire.SUBSCRIBE, 2 ** 31, filter]).length > wire.MAX_MESSAGE) throw new TypeError("the filter has more than 65,536 bytes");
  return filter;
}
