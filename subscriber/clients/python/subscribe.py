#!/usr/bin/env python3
"""Prints what a publisher sends, one JSON object a line, as codec/CLIENT.md says."""

import argparse
import json
import os
import signal
import stat
import sys
from datetime import datetime, timezone
from decimal import Decimal

import tickfeed

POLICIES = ("all", "latest", "disconnect")


def address(text):
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, "8425"
    return host.strip("[]"), int(port)


def parse_start(text):
    name, _, value = text.partition(":")
    if name == "seq" and 1 <= int(value) <= 1 << 63:
        return tickfeed.SEQ, int(value)
    if name == "time":
        if value.isdigit():
            return tickfeed.TIME, int(value)
        whole, _, fraction = value.removesuffix("Z").partition(".")
        seconds = int(datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp())
        return tickfeed.TIME, seconds * 10**9 + int(fraction.ljust(9, "0")[:9])
    return {"snapshot": tickfeed.SNAPSHOT, "live": tickfeed.LIVE, "beginning": tickfeed.BEGINNING}[name], 0


def start(text):
    try:
        return parse_start(text)
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError("use snapshot, live, beginning, seq:N or time:2026-11-22T14:30:00Z") from None


to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(event):
    """Returns an event as a line of JSON. A Decimal, which json does not know, is written with all its digits."""
    decimals = {name: value for name, value in event.items() if isinstance(value, Decimal)}
    if not decimals:
        return to_json(event) + "\n"
    rest = to_json({name: value for name, value in event.items() if name not in decimals})
    return rest[:-1] + "".join(f',"{name}":{value:f}' for name, value in decimals.items()) + "}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", type=address, help="HOST:PORT of the publisher")
    parser.add_argument("--symbols", default="", metavar="PATTERNS", help="instruments wanted, with commas between them")
    parser.add_argument("--from", dest="start", type=start, default=(0, 0), metavar="START", help="snapshot (default), live, beginning, seq:N or time:T")
    parser.add_argument("--slow", choices=POLICIES, default="all", help="what the publisher does if this client is slow")
    parser.add_argument("--state", metavar="FILE", help="keep the position in FILE")
    parser.add_argument("--token", default="", help="credentials")
    parser.add_argument("--raw", action="store_true", help="prices and sizes as integers")
    parser.add_argument("--final-state", action="store_true", help="print the state at the end")
    parser.add_argument("--ledger", action="store_true", help="print the account of every number at the end")
    options = parser.parse_args()

    out = sys.stdout
    out.reconfigure(encoding="utf-8", errors="replace", newline="\n")
    regular = stat.S_ISREG(os.fstat(out.fileno()).st_mode)

    def flush():
        out.flush()
        if regular:
            os.fsync(out.fileno())

    def show(event):
        out.write(encode(event if options.raw else tickfeed.decimals(event)))

    try:
        subscriber = tickfeed.Subscriber(
            options.address, [p for p in options.symbols.split(",") if p], options.start, POLICIES.index(options.slow),
            token=options.token, state_file=options.state, on_save=flush, on_idle=out.flush,
        )  # fmt: skip
    except ValueError as e:
        parser.error(str(e))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: subscriber.close())
    for event in subscriber:
        if event.get("event") == "left" and options.final_state:
            for line in subscriber.memory.final_state():
                show(line)
        show(event)
    if options.ledger:
        show(subscriber.memory.ledger.as_json())
    out.flush()


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
