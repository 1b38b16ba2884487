"""Ticks: reading an entry of a body, and writing it as a line of output.

A tick is a dict with the names of codec/CLIENT.md; prices and sizes are integers in the exponents of its
instrument. Its "kind" is the number of its kind, and "id" that of its instrument.
"""

from .ledger import hexadecimal
from .wire import Fields, require

DEFINITION, QUOTE, TRADE, CORRECTION, CANCEL, LEVEL, CLEAR, STATUS, SUMMARY, GONE, AUCTION = range(1, 12)
KINDS = {
    DEFINITION: "definition", QUOTE: "quote", TRADE: "trade", CORRECTION: "correction", CANCEL: "cancel", LEVEL: "level",
    CLEAR: "clear", STATUS: "status", SUMMARY: "summary", AUCTION: "auction",
}  # fmt: skip
STATUSES = ("unknown", "pre-open", "trading", "halted", "auction", "closed")
AUCTIONS = ("unknown", "opening", "closing", "intraday", "halt", "ipo")
AGGRESSORS = (None, "buy", "sell")
SIDES = (None, "bid", "ask", "both")
PRICES = ("bid", "ask", "price", "old_price", "open", "high", "low", "last", "tick_size")
SIZES = ("bid_size", "ask_size", "size", "old_size", "imbalance", "last_size", "volume", "lot")

_MAX_DAY = 99991231
_BEYOND = 1 << 62


def read_tick(entry, base, in_snapshot):
    """Returns the tick that an entry holds; base is the base event time."""
    f = Fields(entry, "tick")
    code = f.uint(0, 255, 2)
    kind = code >> 1
    time = base + f.int(2)
    require(-_BEYOND <= time < _BEYOND, "an event time beyond its bound")
    tick = {"kind": kind, "id": f.uint(1, (1 << 24) - 1), "ts_event": time, "more": bool(code & 1)}
    if kind in KINDS:
        _READERS[kind](tick, f, base, in_snapshot)
    return tick


def _definition(t, f, base, in_snapshot):
    t.update(symbol=f.text(3, 1), venue=f.text(4), price_exponent=f.int(5, -18, 18), size_exponent=f.int(6, -18, 18))
    t.update(currency=f.text(7), tick_size=f.size(8), lot=f.size(9))


def _quote(t, f, base, in_snapshot):
    t.update(bid=f.price(3), bid_size=f.size(4), ask=f.price(5), ask_size=f.size(6))


def _trade(t, f, base, in_snapshot):
    t.update(price=f.price(3), size=f.size(4), side=AGGRESSORS[f.uint(5, 2)])
    t.update(trade_id=f.uint(6), conditions=f.conditions(7), trade_ref=f.optional(8))


def _correction(t, f, base, in_snapshot):
    _trade(t, Fields(f.elements[:8], f.name), base, in_snapshot)
    t.update(old_price=f.price(8), old_size=f.size(9), trade_ref=f.optional(10))


def _cancel(t, f, base, in_snapshot):
    t.update(price=f.price(3), size=f.size(4), trade_id=f.uint(5), trade_ref=f.optional(6))


def _level(t, f, base, in_snapshot):
    t.update(side=SIDES[f.uint(3, 2, 1)], price=f.int(4, 1 - (1 << 63)), size=f.size(5))


def _clear(t, f, base, in_snapshot):
    t.update(side=SIDES[f.uint(3, 3, 1)])


def _status(t, f, base, in_snapshot):
    t.update(status=f.uint(3, 255), trading_day=f.uint(4, _MAX_DAY), reason=f.optional(5))
    t.update(expected_end=_later(t, f, 6) if len(f) > 6 else None)


def _summary(t, f, base, in_snapshot):
    require(in_snapshot, "a summary outside of a snapshot")
    t.update(trading_day=f.uint(3, _MAX_DAY), open=f.price(4), high=f.price(5), low=f.price(6), last=f.price(7))
    t.update(last_size=f.size(8), last_side=AGGRESSORS[f.uint(9, 2)], last_time=base + f.int(10), volume=f.size(11))
    t.update(trades=f.size(12), trade_id=f.uint(13), trade_ref=f.optional(14))
    require(-_BEYOND <= t["last_time"] < _BEYOND, "a last time beyond its bound")


def _auction(t, f, base, in_snapshot):
    require(not in_snapshot, "an auction in a snapshot")
    t.update(auction=f.uint(3, 255), price=f.price(4), size=f.size(5), side=AGGRESSORS[f.uint(6, 2)], imbalance=f.size(7))
    t.update(expected_time=_later(t, f, 8))


def _later(t, f, i):
    """Returns a time that is given as the distance from the event time."""
    if f.any(i) is None:
        return None
    time = t["ts_event"] + f.int(i)
    require(-_BEYOND <= time < _BEYOND, "an expected time beyond its bound")
    return time


_READERS = {
    DEFINITION: _definition, QUOTE: _quote, TRADE: _trade, CORRECTION: _correction, CANCEL: _cancel, LEVEL: _level,
    CLEAR: _clear, STATUS: _status, SUMMARY: _summary, AUCTION: _auction,
}  # fmt: skip

_INTERNAL = frozenset(("kind", "id", "more", "trade_ref", "symbol", "venue", "price_exponent", "size_exponent", "ts_event"))
_EXPECTED = ("expected_end", "expected_time")
_OPTIONAL = frozenset((
    "side", "last_side", "trade_id", "conditions", "currency", "tick_size", "lot", "trading_day", "reason",
))  # fmt: skip


def event_of(tick, definition, session, **head):
    """Returns tick as codec/CLIENT.md prints it with --raw; definition is None if the instrument has none."""
    d = definition or {"symbol": "", "venue": "", "price_exponent": 0, "size_exponent": 0}
    kind = tick["kind"]
    event = {"session": hexadecimal(session), **head, "type": KINDS.get(kind, f"kind({kind})")}
    event.update(symbol=d["symbol"], venue=d["venue"], raw=True)
    event.update(price_exponent=d["price_exponent"], size_exponent=d["size_exponent"], ts_event=tick["ts_event"])
    for name, value in tick.items():
        if name == "trade_id":
            value = tick["trade_ref"] or (str(value) if value else None)
        elif name == "status":
            value = STATUSES[value] if value < len(STATUSES) else f"status({value})"
        elif name == "auction":
            value = AUCTIONS[value] if value < len(AUCTIONS) else f"auction({value})"
        left_out = value is None if name in _EXPECTED else name in _OPTIONAL and value in (None, "", 0)
        if name not in _INTERNAL and not left_out:
            event[name] = value
    if tick["more"]:
        event["more"] = True
    return event
