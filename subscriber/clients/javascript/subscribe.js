#!/usr/bin/env node
// Prints what a publisher sends, one JSON object a line, as codec/CLIENT.md says.

import { fstatSync, fsyncSync } from "node:fs";
import { parseArgs } from "node:util";

import * as tickfeed from "./src/index.js";
import { fileStore, tcp } from "./src/node.js";

const USAGE = `usage: subscribe.js HOST:PORT [--symbols PATTERNS] [--from START] [--slow POLICY] [--state FILE] [--token TOKEN]
                    [--raw] [--final-state] [--ledger]

--symbols  instruments wanted, with commas between them
--from     snapshot (default), live, beginning, seq:N or time:T, T in RFC 3339 or in nanoseconds
--slow     all (default), latest or disconnect
--state    keep the position in FILE`;

function usage(text) {
  console.error(`${text}\n${USAGE}`);
  process.exit(2);
}

function parseStart(text) {
  const [, name, value] = /^([a-z]+)(?::(.+))?$/.exec(text) ?? [];
  const plain = { snapshot: tickfeed.SNAPSHOT, live: tickfeed.LIVE, beginning: tickfeed.BEGINNING }[name];
  if (plain !== undefined && !value) return { start: plain };
  if (name === "seq" && /^[1-9]\d*$/.test(value)) return { start: tickfeed.SEQ, value: BigInt(value) };
  if (name === "time" && /^\d+$/.test(value)) return { start: tickfeed.TIME, value: BigInt(value) };
  const [, whole, fraction = ""] = /^(.*T\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(value ?? "") ?? [];
  const milliseconds = Date.parse(`${whole}Z`);
  if (name !== "time" || Number.isNaN(milliseconds)) usage(`${text} is no start`);
  return { start: tickfeed.TIME, value: BigInt(milliseconds) * 1000000n + BigInt(fraction.padEnd(9, "0")) };
}

function parse() {
  const string = { type: "string" }, boolean = { type: "boolean" };
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        symbols: { ...string, default: "" }, from: { ...string, default: "snapshot" }, slow: { ...string, default: "all" },
        state: string, token: string, raw: boolean, "final-state": boolean, ledger: boolean,
      },
    });
  } catch (e) {
    return usage(e.message);
  }
}

const { values: options, positionals } = parse();
const [, host, port] = /^\[?(.*?)\]?(?::(\d+))?$/.exec(positionals[0] ?? "");
const slow = ["all", "latest", "disconnect"].indexOf(options.slow);
if (positionals.length !== 1 || !host) usage("one HOST:PORT is needed");
if (slow < 0) usage(`${options.slow} is no policy`);

let output = [];
const regular = fstatSync(1).isFile();

function flush() {
  if (output.length) process.stdout.write(output.join("")); // to files and pipes, this returns once it is written
  output = [];
}

function show(event) {
  output.push(`${tickfeed.toJSON(options.raw ? event : tickfeed.decimals(event))}\n`);
}

let subscriber;
try {
  subscriber = new tickfeed.Subscriber({
    connect: tcp(host, Number(port ?? 8425)),
    filter: options.symbols.split(",").filter(Boolean),
    ...parseStart(options.from),
    slow,
    token: options.token,
    store: options.state && fileStore(options.state),
    onSave() {
      flush();
      if (regular) fsyncSync(1);
    },
    onIdle: flush,
  });
} catch (e) {
  usage(e.message);
}

process.stdout.on("error", () => process.exit(1)); // the reader of the output has left
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => subscriber.close());

for await (const event of subscriber) {
  if (event.event === "left" && options["final-state"]) for (const line of subscriber.memory.finalState()) show(line);
  show(event);
}
if (options.ledger) show(subscriber.memory.ledger.toObject());
flush();
