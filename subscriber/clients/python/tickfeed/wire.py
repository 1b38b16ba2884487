"""Bytes and messages: splitting the stream, bounded decoding, checksums, and checked fields."""

import unicodedata

import msgpack

MAX_HELLO = 4096
MAX_MESSAGE = 65536
MAX_EARLY = 16384
MAX_SEQ = 1 << 63
MAX_DURATION = 86400 * 10**9

REFUSAL, GOODBYE, PACKET, HEARTBEAT, SNAPSHOT_BEGIN, SNAPSHOT_PART, SNAPSHOT_END = range(3, 10)
HELLO, WELCOME, SESSION, SUBSCRIBE, SUBSCRIBED, PULSE, END = 1, 2, 10, 11, 12, 13, 14
LAST_TYPE, PASSED_OVER = 17, 64

CODES = ("", "shutdown", "busy", "version", "unauthorized", "protocol", "bad request", "slow", "silent", "internal", "done")
PROTOCOL, SILENT, DONE = CODES.index("protocol"), CODES.index("silent"), CODES.index("done")


class Violation(Exception):
    """The server broke the protocol. Its cause is "gap" if numbers are missing, else "protocol"."""

    def __init__(self, text, cause="protocol"):
        super().__init__(text)
        self.cause = cause


class Goodbye(Exception):
    """The server ended the connection, by goodbye, or by refusal before the welcome."""

    def __init__(self, code, text, retry, after, refused):
        super().__init__(text)
        self.code = CODES[code] if code < len(CODES) else f"code {code}"
        self.retry, self.after, self.refused = retry, after, refused


def require(ok, text, cause="protocol"):
    if not ok:
        raise Violation(text, cause)


def _shape(marker):
    """Returns the bytes, the width of the length, and the elements of a value that begins with marker."""
    if marker < 0x80 or marker >= 0xE0 or marker in (0xC0, 0xC2, 0xC3):
        return 0, 0, 0
    if marker < 0xA0:
        return 0, 0, (marker & 15) * (2 if marker < 0x90 else 1)
    if marker < 0xC0:
        return marker & 31, 0, 0
    sizes = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
    lengths = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
    if marker in sizes:
        return sizes[marker], 0, 0
    return (0, lengths[marker], 0) if marker in lengths else None


_SHAPES = [_shape(marker) for marker in range(256)]
_ARRAYS = frozenset([*range(0x90, 0xA0), 0xDC, 0xDD])
_CONTAINERS = frozenset([*range(0x80, 0xA0), *range(0xDC, 0xE0)])


def walk(data, at, bound):
    """Returns where the msgpack value at `at` ends, or None if more bytes are needed.

    It raises Violation as soon as the value must become longer than bound bytes or nests deeper than 4.
    """
    limit, size, owed, open_arrays, pos = at + bound, len(data), 1, [1], at
    while open_arrays:
        if not open_arrays[-1]:
            open_arrays.pop()
            continue
        require(pos + owed <= limit, "a length or count beyond its bound")
        if pos >= size:
            return None
        marker = data[pos]
        require(_SHAPES[marker], f"the msgpack marker {marker:#x} is not used")
        skip, width, elements = _SHAPES[marker]
        open_arrays[-1] -= 1
        owed -= 1
        pos += 1
        if width:
            require(pos + width + owed <= limit, "a length or count beyond its bound")
            if pos + width > size:
                return None
            n = int.from_bytes(data[pos : pos + width], "big")
            pos += width
            if marker < 0xDC:
                skip = n
            else:
                elements = n if marker < 0xDE else 2 * n
        require(pos + skip + elements + owed <= limit, "a length or count beyond its bound")
        pos += skip
        if pos > size:
            return None
        if marker in _CONTAINERS:
            require(len(open_arrays) <= 4, "nesting beyond 4")
            open_arrays.append(elements)
            owed += elements
    return pos


_FIXED = {PACKET: (0x97, 46, (7, 16, 25, 34, 43)), SNAPSHOT_PART: (0x96, 37, (7, 16, 25, 34))}
_FIXED_MARKERS = {PACKET: b"\xcf\xcf\xd3\xd3\xc5", SNAPSHOT_PART: b"\xcf\xcf\xd3\xc5"}


def split(buffer, at, bound):
    """Returns type and length of the message at `at` in buffer, or None if more bytes are needed.

    bound is for messages other than packets and parts of snapshots.
    """
    require(buffer[at] in _ARRAYS, "a message is an array")
    head = at + (1 if buffer[at] < 0xA0 else 3 if buffer[at] == 0xDC else 5)
    if len(buffer) <= head:
        walk(buffer, at, bound)
        return None
    kind = buffer[head]
    require(0 < kind <= LAST_TYPE or PASSED_OVER <= kind < 128, f"a message of type {kind}")
    if kind not in _FIXED or bound < MAX_MESSAGE:
        end = walk(buffer, at, bound)
        return end and (kind, end - at)
    first, header, offsets = _FIXED[kind]
    start = bytes([first, kind, 0xCE])
    require(start.startswith(buffer[at : at + 3]), "the layout of a packet")
    have = len(buffer) - at
    for offset, marker in zip(offsets, _FIXED_MARKERS[kind]):
        require(have <= offset or buffer[at + offset] == marker, "the layout of a packet")
    if have < header:
        return None
    size = header + int.from_bytes(buffer[at + header - 2 : at + header], "big")
    return (kind, size) if have >= size else None


# Text that is not UTF-8 becomes lone surrogates, which are not graphic. Maps stand only in elements that are ignored.
_DECODING = dict(raw=False, unicode_errors="surrogateescape", strict_map_key=False, object_pairs_hook=list)


def decode(raw):
    """Returns the elements of one message."""
    return msgpack.unpackb(raw, **_DECODING)


def entries(body):
    """Returns the entries of a body."""
    at = 0
    while at < len(body):
        at = walk(body, at, len(body) - at)
        require(at is not None, "an entry that is not complete")
    unpacker = msgpack.Unpacker(max_buffer_size=len(body) + 1, **_DECODING)
    unpacker.feed(body)
    return list(unpacker)


encode = msgpack.packb


def _table():
    for c in range(256):
        for _ in range(8):
            c = c >> 1 ^ 0x82F63B78 if c & 1 else c >> 1
        yield c


_CRC32C = tuple(_table())


def crc32c(seed, *chunks):
    """Continues the checksum seed over chunks."""
    c = seed ^ 0xFFFFFFFF
    table = _CRC32C
    for chunk in chunks:
        for byte in chunk:
            c = table[(c ^ byte) & 255] ^ c >> 8
    return c ^ 0xFFFFFFFF


def seed_of(session):
    """Returns the seed of a full line of session."""
    return crc32c(0, session.to_bytes(8, "big"))


def graphic(c):
    category = unicodedata.category(c)
    return category[0] in "LMNPS" or category == "Zs"


class Fields:
    """The elements of a message or entry, each checked when it is taken."""

    def __init__(self, elements, name):
        self.elements, self.name = elements, name

    def __len__(self):
        return len(self.elements)

    def bad(self, i):
        return Violation(f"{self.name}: element {i} is {self.elements[i]!r}"[:200])

    def any(self, i):
        require(i < len(self.elements), f"{self.name}: element {i} is missing")
        return self.elements[i]

    def int(self, i, least=-(1 << 63), most=(1 << 63) - 1):
        value = self.any(i)
        if type(value) is not int or not least <= value <= most:  # a bool is an int to Python
            raise self.bad(i)
        return value

    def uint(self, i, most=(1 << 64) - 1, least=0):
        return self.int(i, least, most)

    def seq(self, i):
        return self.int(i, 1, MAX_SEQ)

    def size(self, i):
        return self.int(i, 0)

    def price(self, i):
        return None if self.any(i) is None else self.int(i, 1 - (1 << 63))

    def bool(self, i):
        value = self.any(i)
        if type(value) is not bool:
            raise self.bad(i)
        return value

    def people(self, i):
        """Text for people, made harmless."""
        text = self._str(i, 0, 1024)
        return "".join(c if graphic(c) else "?" for c in text)

    def text(self, i, least=0, most=64):
        text = self._str(i, least, most)
        if not (text.isascii() and text.isprintable() or all(map(graphic, text))):
            raise self.bad(i)
        return text

    def optional(self, i):
        return self.text(i) if i < len(self.elements) else ""

    def _str(self, i, least, most):
        value = self.any(i)
        if type(value) is not str or not least <= len(value.encode("utf-8", "surrogateescape")) <= most:
            raise self.bad(i)
        return value

    def conditions(self, i):
        text = self._str(i, 0, 8).rstrip("\0")
        if not all(" " <= c <= "~" for c in text) or text.endswith(" "):
            raise self.bad(i)
        return text

    def list(self, i, most):
        value = self.any(i)
        if type(value) is not list or len(value) > most:
            raise self.bad(i)
        return value

    def filter(self, i):
        patterns = Fields(self.list(i, 4096), f"{self.name}: pattern")
        for j in range(len(patterns)):
            symbol, _, venue = patterns.text(j, 1, 129).partition("@")
            if not symbol or max(len(symbol.encode()), len(venue.encode())) > 64:
                raise patterns.bad(j)
        return canonical(patterns.elements)

    def lineage(self, i):
        lineage, least = [], 1
        for entry in self.list(i, 65):
            require(type(entry) is list and len(entry) >= 2, f"{self.name}: lineage")
            pair = Fields(entry, f"{self.name}: lineage")
            session, first = pair.uint(0, least=1), pair.seq(1)
            require(first >= least and all(session != s for s, _ in lineage), f"{self.name}: lineage")
            lineage.append((session, first))
            least = first
        require(lineage, f"{self.name}: the lineage is empty")
        return lineage


def canonical(patterns):
    """Returns the patterns sorted, none twice; none at all if one of them is "*"."""
    return [] if "*" in patterns else sorted(set(patterns))
