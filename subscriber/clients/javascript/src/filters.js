// Filters: which instruments match the patterns.

import { cut } from "./wire.js";

const regex = (pattern) => pattern.replace(/[\\^$.*+?()[\]{}|/]/g, (c) => ({ "*": ".*", "?": "." })[c] ?? `\\${c}`);

/** Returns a function that reports whether a definition matches one of patterns; all match an empty filter. */
export function matcher(patterns) {
  if (!patterns.length) return () => true;
  const alternatives = patterns.map((pattern) => {
    const [symbol, venue] = cut(pattern);
    return `${regex(symbol)}\0${venue === undefined ? ".*" : regex(venue)}`;
  });
  const any = new RegExp(`^(?:${alternatives.join("|")})$`, "su");
  return (definition) => any.test(`${definition.symbol}\0${definition.venue}`);
}
