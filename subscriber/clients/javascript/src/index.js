// A subscriber of tickfeed, written from codec/PROTOCOL.md and codec/CLIENT.md.

export { Subscriber } from "./client.js";
export { toJSON } from "./json.js";
export { BEGINNING, LIVE, SEQ, SNAPSHOT, TIME } from "./line.js";
export { decimals } from "./ticks.js";
