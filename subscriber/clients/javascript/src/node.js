// What Node adds: sockets over TCP, and a file with the position.

import { open, readFile, rename } from "node:fs/promises";
import { createConnection } from "node:net";
import { dirname, resolve } from "node:path";

import { parsePosition, toJSON } from "./json.js";

const CONNECT_WITHIN = 5000; // milliseconds

/** Returns a function that connects to host and port over TCP. */
export const tcp = (host, port) => () =>
  new Promise((connected, failed) => {
    const socket = createConnection({ host, port, noDelay: true });
    const timer = setTimeout(() => socket.destroy(new Error("no connection within 5 s")), CONNECT_WITHIN);
    socket.once("error", failed);
    socket.once("close", () => clearTimeout(timer));
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", failed);
      socket.on("error", () => {}); // the iteration throws it
      connected({
        send: (bytes) => socket.write(bytes),
        close: () => {
          socket.end(); // what was sent before is not cut off
          setTimeout(() => socket.destroy(), 100).unref();
        },
        [Symbol.asyncIterator]: () => socket[Symbol.asyncIterator](),
      });
    });
  });

/** Returns a store that keeps the position in a file. */
export const fileStore = (path) => ({
  async load() {
    const text = await readFile(path, "utf8").catch((e) => {
      if (e.code === "ENOENT") return "";
      throw e;
    });
    return text.trim() ? parsePosition(text) : null;
  },
  async save(position) {
    const file = await open(`${path}.new`, "w");
    try {
      await file.writeFile(toJSON(position));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
    if (process.platform === "win32") return;
    const directory = await open(dirname(resolve(path)), "r");
    await directory.sync().finally(() => directory.close());
  },
});
