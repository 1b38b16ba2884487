"""The subscriber: it connects, notices dead peers, reconnects, and keeps its position in a file."""

import json
import os
import random
import select
import socket
import threading
import time

from . import wire
from .ledger import hexadecimal
from .line import Line, Memory
from .wire import Fields, Goodbye, Violation

WELCOME_WITHIN = 5  # seconds
CONNECT_WITHIN = 5
SAVE_EVERY = 1
FIRST_BOUND, LAST_BOUND = 0.1, 30


class Backoff:
    """How long to wait before each attempt to connect."""

    def __init__(self, random=random.random):
        self.random, self.bound = random, 0

    def attempted(self, good, lasted, broken):
        """Notes an attempt and returns the seconds to wait before the next one.

        good: the line made progress; broken: the connection ended in a way that it would end again at once.
        """
        if good or lasted > max(self.bound, FIRST_BOUND):
            self.bound = 0
        if broken:
            self.bound = max(self.bound, FIRST_BOUND)
        wait = self.random() * self.bound
        self.bound = min(max(2 * self.bound, FIRST_BOUND), LAST_BOUND)
        return wait


class StateFile:
    """A file with the position: {"lineage":[{"session":"…","first":N},…],"next":N}."""

    def __init__(self, path):
        self.path = path

    def load(self):
        """Returns lineage and next number; an empty lineage and 0 if the file does not exist or is empty."""
        try:
            with open(self.path, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            return [], 0
        if not text.strip():
            return [], 0
        try:
            saved = json.loads(text)
            pairs = [[int(entry["session"], 16), entry["first"]] for entry in saved["lineage"]]
            if not pairs:
                return [], 0
            return Fields([pairs], "position").lineage(0), Fields([saved["next"]], "position").seq(0)
        except (ValueError, KeyError, TypeError, AttributeError, Violation) as e:
            raise ValueError(f"{self.path} holds no position: {e}") from e

    def save(self, lineage, next):
        """Replaces the file. The position survives a crash of the machine once save has returned."""
        entries = [{"session": hexadecimal(session), "first": first} for session, first in lineage[-65:]]
        temporary = f"{self.path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump({"lineage": entries, "next": next}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        if os.name != "posix":
            return
        directory = os.open(os.path.dirname(os.path.abspath(self.path)), os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class Subscriber:
    """A subscriber of the publisher at (host, port).

    Iterating over it connects, and yields the events of codec/CLIENT.md as dicts, ticks among them, until close is
    called or the publisher forbids to come back. Prices and sizes are integers; see tickfeed.decimals.

    filter is a list of patterns, start one of the constants of tickfeed.line with its value, slow 0 to 2 (all, latest,
    disconnect), max_lag and heartbeat seconds or 0 for the publisher's choice. If state_file is given, the position is
    kept there; before each save the subscriber calls on_save, which must make the output of all events so far durable.
    It calls on_idle before it waits for the publisher, so that output can be buffered until then.
    """

    def __init__(self, address, filter=(), start=(0, 0), slow=0, max_lag=0, heartbeat=0, token="", state_file=None, on_save=None, on_idle=None):
        filter = _checked(filter)
        self.address, self.token = address, token
        self.max_lag, self.heartbeat = int(max_lag * 1e9), int(heartbeat * 1e9)
        self.file = StateFile(state_file) if state_file else None
        self.on_save, self.on_idle = on_save or (lambda: None), on_idle or (lambda: None)
        lineage, next = self.file.load() if self.file else ([], 0)
        self.memory = Memory(filter, start, slow, lineage, next)
        self.saved, self.saved_at = (lineage, next), 0
        self.backoff, self.over = Backoff(), False
        self.applied = next  # the position that pulses report
        self.closing = threading.Event()
        self.woken, self.waker = socket.socketpair()
        self.waker.setblocking(False)

    def close(self):
        """Makes the iteration end with "left". It may be called from any thread and from a signal handler."""
        self.closing.set()
        self._wake()

    def subscribe(self, filter):
        """Changes the filter as soon as the publisher can answer. It may be called from any thread."""
        self.memory.filter = _checked(filter)
        self._wake()

    def _wake(self):
        try:
            self.waker.send(b".")
        except BlockingIOError:
            pass  # it is awake

    def __iter__(self):
        while not self.closing.is_set() and not self.over:
            wait = yield from self._attempt()
            yield from self._save()
            if not self.over:
                self._sleep(wait)
        yield self.memory.left()

    def _sleep(self, wait):
        self.on_idle()
        until = time.monotonic() + wait
        while not self.closing.is_set() and (left := until - time.monotonic()) > 0:
            if select.select([self.woken], [], [], left)[0]:
                self.woken.recv(4096)

    def _attempt(self):
        """Yields the events of one connection, and returns the seconds to wait after it."""
        began, line, after, broken = time.monotonic(), None, 0, False
        try:
            sock = socket.create_connection(self.address, CONNECT_WITHIN)
        except OSError:
            return self.backoff.attempted(False, 0, False)
        connection = _Connection(sock)
        ending = {"cause": "cut"}
        try:
            hello = self.memory.hello("tickfeed-python", self.token, self.heartbeat, self.max_lag)
            line = Line(self.memory, hello)
            connection.send(hello)
            yield from self._receive(connection, line)
            if self.closing.is_set():
                connection.send([wire.GOODBYE, wire.DONE, "", False, 0])
                return 0
        except GeneratorExit:
            connection.send([wire.GOODBYE, wire.DONE, "", False, 0])
            raise
        except Violation as e:
            ending, broken = {"cause": e.cause, "detail": str(e)}, True
            connection.send([wire.GOODBYE, wire.PROTOCOL, str(e)[:200], True, 0])
        except Goodbye as e:
            ending = {"cause": "refused" if e.refused else "goodbye", "code": e.code, "detail": str(e)}
            self.over, after = not e.retry, e.after
        except _Silent:
            ending = {"cause": "silent"}
            connection.send([wire.GOODBYE, wire.SILENT, "nothing heard for three intervals", True, 0])
        except OSError as e:
            ending["detail"] = str(e)
        finally:
            connection.close()
        yield {"event": "disconnected", **ending}
        broken = broken or self.memory.slow == 2 and ending["cause"] == "cut" and not line.caught_up
        return max(after, self.backoff.attempted(line.progressed or line.unrelated, time.monotonic() - began, broken))

    def _receive(self, connection, line):
        """Yields the events of a line until the subscriber is closed or the connection has ended."""
        sock, life, deadline = connection.sock, 0, time.monotonic() + WELCOME_WITHIN
        while not self.closing.is_set():
            self.on_idle()
            now = time.monotonic()
            ready = select.select([sock, self.woken], [], [], max(0, deadline - now))[0]
            if self.woken in ready:
                self.woken.recv(4096)
            data = sock.recv(1 << 16) if sock in ready else None
            if data == b"":
                return
            for event in line.feed(data or b""):
                handed = time.monotonic()
                yield event
                deadline += time.monotonic() - handed  # the time that the consumer took is not the publisher's
            self.applied = self.memory.next
            yield from self._save(SAVE_EVERY)
            if message := line.subscribe():
                connection.send(message)
            if line.life != life:
                life = line.life
                if line.welcomed:
                    deadline = time.monotonic() + 3 * line.interval
                    connection.pulse(line, lambda: self.applied)
            elif time.monotonic() >= deadline:
                if line.welcomed:
                    raise _Silent
                raise OSError("no answer to the hello")

    def _save(self, every=0):
        m = self.memory
        if not self.file or not m.lineage or self.saved == (m.lineage, m.next) or time.monotonic() < self.saved_at + every:
            return
        self.on_save()
        self.file.save(m.lineage, m.next)
        self.saved, self.saved_at = (m.lineage, m.next), time.monotonic()
        yield {"event": "saved", "session": hexadecimal(m.lineage[-1][0]), "next": m.next}


def _checked(filter):
    try:
        filter = Fields([list(filter)], "filter").filter(0)
    except Violation as e:
        raise ValueError(str(e)) from None
    if len(wire.encode([wire.SUBSCRIBE, 1 << 32, filter])) > wire.MAX_MESSAGE:
        raise ValueError("the filter has more than 65,536 bytes")
    return filter


class _Silent(Exception):
    """The publisher gave no sign of life for three intervals."""


class _Connection:
    """A socket, and the thread that proves that this side lives, also while the consumer is busy."""

    def __init__(self, sock):
        self.sock, self.lock, self.closed, self.thread = sock, threading.Lock(), threading.Event(), None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(CONNECT_WITHIN)

    def send(self, message):
        """Sends message. An error is left to the reader, which finds the connection cut."""
        try:
            with self.lock:
                self.sock.sendall(wire.encode(message))
        except OSError:
            pass

    def pulse(self, line, position):
        """Starts to send pulses; the second call and later ones do nothing."""
        if self.thread:
            return

        def run():
            due = time.monotonic() + line.interval
            while not self.closed.wait(max(0, due - time.monotonic())):
                self.send(line.pulse(position()))
                due = max(due, time.monotonic() - line.interval) + line.interval  # a late one delays the others little

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def close(self):
        self.closed.set()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)  # a send that waits returns
        except OSError:
            pass
        if self.thread:
            self.thread.join()
        self.sock.close()
