"""The state: what ticks fold into, instrument by instrument."""

from .ticks import CANCEL, CLEAR, CORRECTION, DEFINITION, LEVEL, QUOTE, STATUS, SUMMARY, TRADE
from .wire import Violation

MAX_LEVELS = 4096
_MAX_SIZE = (1 << 63) - 1
_DAY_PRICES = ("open", "high", "low", "last")
_DAY_SIZES = ("last_size", "volume")


def new_day(date):
    """Returns a day without trades."""
    prices = dict.fromkeys(_DAY_PRICES)
    return dict(
        trading_day=date, **prices, last_size=0, last_side=None, last_time=0, volume=0, trades=0, trade_id=0, trade_ref=""
    )


def name_of(tick):
    return tick["symbol"], tick["venue"]


class Names:
    """The id of each symbol at a venue. It refuses a second id for one."""

    def __init__(self, base=None):
        self.base, self.ids, self.names = base, {}, {}

    def id(self, name):
        if name in self.ids or not self.base:
            return self.ids.get(name)
        return self.base.id(name)

    def name(self, id):
        if id in self.names or not self.base:
            return self.names.get(id)
        return self.base.name(id)

    def define(self, tick):
        name, id = name_of(tick), tick["id"]
        if self.id(name) not in (None, id):
            raise Violation(f"{name[0]} has a second id")
        self.forget(id)
        self.ids[name], self.names[id] = id, name

    def forget(self, id):
        old = self.name(id)
        if old:
            self.ids[old] = self.names[id] = None


class Instrument:
    def __init__(self, definition):
        self.definition, self.quote, self.day = definition, None, new_day(0)
        self.status = dict(status=0, ts_event=0, reason="", expected_end=None)
        self.book = {"bid": {}, "ask": {}}

    def fold(self, t):
        fold = self._FOLDS.get(t["kind"])
        if fold:
            fold(self, t)

    def _define(self, t):
        price = self.definition["price_exponent"] - t["price_exponent"]
        size = self.definition["size_exponent"] - t["size_exponent"]
        self.definition = t
        if price or size:
            self._rescale(price, size)

    def _rescale(self, price, size):
        try:
            quote = self.quote and dict(
                self.quote,
                bid=_scaled(self.quote["bid"], price), bid_size=_scaled(self.quote["bid_size"], size),
                ask=_scaled(self.quote["ask"], price), ask_size=_scaled(self.quote["ask_size"], size),
            )  # fmt: skip
            day = dict(self.day)
            day.update({name: _scaled(day[name], price) for name in _DAY_PRICES})
            day.update({name: _scaled(day[name], size) for name in _DAY_SIZES})
            book = {
                side: {_scaled(p, price): dict(t, price=_scaled(p, price), size=_scaled(t["size"], size)) for p, t in levels.items()}
                for side, levels in self.book.items()
            }
            self.quote, self.day, self.book = quote, day, book
        except OverflowError:
            self.quote, self.day, self.book = None, new_day(self.day["trading_day"]), {"bid": {}, "ask": {}}

    def _quote(self, t):
        self.quote = t

    def _stretch(self, price):
        if price is not None:
            day = self.day
            day["high"] = price if day["high"] is None else max(day["high"], price)
            day["low"] = price if day["low"] is None else min(day["low"], price)

    def _trade(self, t):
        day = self.day
        if day["open"] is None:
            day["open"] = t["price"]
        self._stretch(t["price"])
        day.update(last=t["price"], last_size=t["size"], last_side=t["side"], last_time=t["ts_event"])
        day.update(trade_id=t["trade_id"], trade_ref=t["trade_ref"])
        day["volume"] = min(day["volume"] + t["size"], _MAX_SIZE)
        day["trades"] = min(day["trades"] + 1, _MAX_SIZE)

    def _correct(self, t):
        day = self.day
        if not day["trades"]:
            return
        day["volume"] = max(min(day["volume"] + t["size"], _MAX_SIZE) - t["old_size"], 0)
        self._stretch(t["price"])
        named = (t["trade_id"] or t["trade_ref"]) and (day["trade_id"] or day["trade_ref"])
        names = ("trade_id", "trade_ref")
        if all(t[n] == day[n] for n in names) if named else (t["old_price"], t["old_size"]) == (day["last"], day["last_size"]):
            day.update(last=t["price"], last_size=t["size"], last_side=t["side"] or day["last_side"])

    def _cancel(self, t):
        day = self.day
        if day["trades"]:
            day["volume"] = max(day["volume"] - t["size"], 0)
            day["trades"] -= 1
            if not day["trades"]:
                self.day = new_day(day["trading_day"])

    def _level(self, t):
        levels = self.book[t["side"]]
        if not t["size"]:
            levels.pop(t["price"], None)
            return
        levels[t["price"]] = t
        if len(levels) > MAX_LEVELS:
            del levels[min(levels) if t["side"] == "bid" else max(levels)]

    def _clear(self, t):
        for side in self.book:
            if t["side"] in (side, "both"):
                self.book[side] = {}

    def _status(self, t):
        self.status = {name: t[name] for name in self.status}
        if t["trading_day"]:
            self.day = new_day(t["trading_day"])

    def _summary(self, t):
        self.day = {name: t[name] for name in self.day}

    _FOLDS = {
        DEFINITION: _define, QUOTE: _quote, TRADE: _trade, CORRECTION: _correct, CANCEL: _cancel, LEVEL: _level,
        CLEAR: _clear, STATUS: _status, SUMMARY: _summary,
    }  # fmt: skip

    def entries(self):
        """Yields the ticks that fold into the instrument, in the order of a snapshot."""
        head = dict(id=self.definition["id"], more=False)
        yield dict(self.definition, ts_event=0, more=False)
        date = self.day["trading_day"]
        if date or any(self.status.values()):
            yield dict(head, kind=STATUS, trading_day=date, **self.status)
        if self.day != new_day(date):
            yield dict(head, kind=SUMMARY, ts_event=self.day["last_time"], **self.day)
        if self.quote:
            yield dict(self.quote, more=False)
        for side, levels in self.book.items():
            for price in sorted(levels, reverse=side == "bid"):
                yield dict(levels[price], more=False)


class State:
    def __init__(self):
        self.instruments, self.names = {}, Names()

    def fold(self, tick):
        instrument = self.instruments.get(tick["id"])
        if tick["kind"] == DEFINITION:
            self.names.define(tick)
            if instrument is None:
                self.instruments[tick["id"]] = Instrument(tick)
        if instrument is not None:
            instrument.fold(tick)

    def replace(self, part, matches):
        """Replaces the instruments that matches selects by those of part, another state."""
        instruments = {id: i for id, i in self.instruments.items() if not matches(i.definition)} | part.instruments
        names = Names()
        for instrument in instruments.values():
            names.define(instrument.definition)
        self.instruments, self.names = instruments, names

    def entries(self, matches=lambda definition: True):
        """Yields (tick, definition), instrument by instrument."""
        for _, instrument in sorted(self.instruments.items()):
            if matches(instrument.definition):
                for tick in instrument.entries():
                    yield tick, instrument.definition


def _scaled(value, power):
    """Returns value times a power of ten; it raises OverflowError if that is no integer of 64 bits."""
    if value is None or not power:
        return value
    scaled, rest = (value * 10**power, 0) if power > 0 else divmod(value, 10**-power)
    if rest or not -_MAX_SIZE <= scaled <= _MAX_SIZE:
        raise OverflowError
    return scaled
