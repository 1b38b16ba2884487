"""Filters: which instruments match the patterns."""

import re


def _regex(pattern):
    return "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)


def matcher(patterns):
    """Returns a function that reports whether a definition matches one of patterns; all match an empty filter."""
    if not patterns:
        return lambda definition: True
    alternatives = []
    for pattern in patterns:
        symbol, at, venue = pattern.partition("@")
        alternatives.append(_regex(symbol) + "\0" + (_regex(venue) if at else ".*"))
    match = re.compile("|".join(alternatives), re.DOTALL).fullmatch
    return lambda definition: bool(match(definition["symbol"] + "\0" + definition["venue"]))
