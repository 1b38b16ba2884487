"""A subscriber of tickfeed, written from codec/PROTOCOL.md and codec/CLIENT.md.

    from tickfeed import Subscriber, decimals

    for event in Subscriber(("localhost", 8425), filter=["AAPL", "ES*@XCME"]):
        if event.get("type") == "quote":
            quote = decimals(event)
            print(quote["symbol"], quote["bid"], quote["ask"])
"""

from decimal import Decimal

from .client import Subscriber
from .line import BEGINNING, LIVE, SEQ, SNAPSHOT, TIME
from .ticks import PRICES, SIZES
from .wire import Violation

__all__ = ["Subscriber", "Violation", "decimals", "SNAPSHOT", "LIVE", "BEGINNING", "SEQ", "TIME"]


def decimals(event):
    """Returns an event with its prices and sizes as Decimal; one that is no tick is returned as it is."""
    if "type" not in event:
        return event
    names = {name: event["price_exponent"] for name in PRICES} | {name: event["size_exponent"] for name in SIZES}
    result = {
        name: Decimal(value).scaleb(names[name]) if name in names and value is not None else value
        for name, value in event.items()
        if name != "raw"
    }
    if event["type"] != "definition":
        del result["price_exponent"], result["size_exponent"]
    return result
