"""Lineages, and the account of every number."""

from .wire import MAX_SEQ

OUTCOMES = ("delivered", "not_asked", "withheld", "lost", "expired", "disowned")


def hexadecimal(session):
    return f"{session:016x}"


def owner(lineage, seq):
    """Returns the session of lineage that owns seq, or None."""
    session = None
    for s, first in lineage:
        if first <= seq:
            session = s
    return session


def parts(lineage, start, end):
    """Yields (session, from, to) for the numbers from start to before end."""
    for i, (session, first) in enumerate(lineage):
        last = lineage[i + 1][1] if i + 1 < len(lineage) else MAX_SEQ
        a, b = max(start, first), min(end, last)
        if a < b:
            yield session, a, b


def fork(ours, position, theirs):
    """Returns the fork of a position in the lineage ours and the lineage theirs; None without a common session."""
    places = {session: i for i, (session, _) in enumerate(theirs)}
    for i in reversed(range(len(ours))):
        if ours[i][0] not in places:
            continue
        after = places[ours[i][0]] + 1
        return min([position, *(first for _, first in ours[i + 1 : i + 2] + theirs[after : after + 1])])
    return None


class Ranges:
    """A set of numbers as sorted half-open ranges, which neither overlap nor touch."""

    def __init__(self):
        self.list = []

    def __contains__(self, seq):
        return bool(self.list) and seq < self.list[-1][1] and any(a <= seq < b for a, b in self.list)

    def add(self, start, end):
        ranges = self.list
        if start >= end:
            return
        if ranges and start == ranges[-1][1]:
            ranges[-1][1] = end
        elif not ranges or start > ranges[-1][1]:
            ranges.append([start, end])
        else:
            apart = [r for r in ranges if r[1] < start or r[0] > end]
            joined = [r for r in ranges if r[1] >= start and r[0] <= end] + [[start, end]]
            self.list = sorted(apart + [[min(r[0] for r in joined), max(r[1] for r in joined)]])

    def remove(self, start, end):
        if self.list and start < self.list[-1][1]:
            kept = []
            for a, b in self.list:
                kept += [[a, min(b, start)], [max(a, end), b]]
            self.list = [[a, b] for a, b in kept if a < b]

    def outside(self, start, end):
        """Returns the parts of a range that are not in the set."""
        rest = Ranges()
        rest.add(start, end)
        for a, b in self.list:
            rest.remove(a, b)
        return rest.list


class Account:
    """The outcome of every number of one session."""

    def __init__(self):
        self.of = {name: Ranges() for name in OUTCOMES}
        self.filtered = []  # [from, to, ticks] of filtered lines

    def book(self, outcome, start, end):
        """Gives numbers an outcome, in place of one before; what was delivered stays delivered."""
        for a, b in self.of["delivered"].outside(start, end):
            for name, ranges in self.of.items():
                if name != "delivered":
                    ranges.remove(a, b)
            self.of[outcome].add(a, b)

    def deliver(self, start, end):
        for name, ranges in self.of.items():
            if name != "delivered":
                ranges.remove(start, end)
        self.of["delivered"].add(start, end)

    def cover(self, start, end, ticks):
        """Books what a packet of a filtered line covered."""
        if self.filtered and self.filtered[-1][1] == start:
            self.filtered[-1][1] = end
            self.filtered[-1][2] += ticks
        else:
            self.filtered.append([start, end, ticks])

    def disown(self, start, end):
        for ranges in self.of.values():
            ranges.remove(start, end)
        kept = []
        for a, b, ticks in self.filtered:
            if b <= start:
                kept.append([a, b, ticks])
            elif a < start:
                kept.append([a, start, ticks * (start - a) // (b - a)])
        self.filtered = kept
        self.of["disowned"].add(start, end)


class Ledger:
    """The accounts of all sessions, in order of their first appearance."""

    def __init__(self):
        self.accounts = {}

    def __getitem__(self, session):
        return self.accounts.setdefault(session, Account())

    def totals(self):
        totals = dict.fromkeys(("delivered", "not_asked", "withheld", "lost", "disowned"), 0)
        for account in self.accounts.values():
            for name in totals:
                totals[name] += sum(b - a for a, b in account.of[name].list)
            for a, b, ticks in account.filtered:
                totals["delivered"] += ticks
                totals["not_asked"] += b - a - ticks
        return totals

    def as_json(self):
        sessions = []
        for session, account in self.accounts.items():
            outcomes = {name: ranges.list for name, ranges in account.of.items() if ranges.list}
            if account.filtered:
                outcomes["filtered"] = account.filtered
            sessions.append({"session": hexadecimal(session), **outcomes})
        return {"sessions": sessions}
