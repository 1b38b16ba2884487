// JSON with integers of any size, which JSON.stringify and JSON.parse do not have.

import { PRICES, SIZES } from "./ticks.js";

/** Returns an event, or a position, as JSON. Prices and sizes of decimals become numbers with all their digits. */
export function toJSON(value, name) {
  if (typeof value === "bigint" || (typeof value === "string" && (PRICES.has(name) || SIZES.has(name)))) return String(value);
  if (Array.isArray(value)) return `[${value.map((item) => toJSON(item)).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const fields = Object.entries(value).filter(([, item]) => item !== undefined);
  return `{${fields.map(([key, item]) => `${JSON.stringify(key)}:${toJSON(item, key)}`).join(",")}}`;
}

/** Parses the JSON of a position. Its numbers become text, which BigInt reads. */
export const parsePosition = (text) => JSON.parse(text.replace(/([:[,]\s*)(\d+)(?=\s*[,\]}])/g, '$1"$2"'));
