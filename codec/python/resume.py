"""Prints every tick once, across cuts: resume.py HOST:PORT [COUNT]"""
import random, socket, sys, time
import msgpack

host, port = sys.argv[1].rsplit(":", 1)
left = int(sys.argv[2]) if len(sys.argv) > 2 else -1
lineage, position, wait, symbols, whole = [], 0, 0, {}, False  # whole: it has the state


def follow(sock):
    global lineage, position, wait, left, whole
    hello = [1, 1, 1, "resume.py", "", [], 0, 0, 0, 0, 10**9, whole, lineage[-65:], position]
    sock.sendall(msgpack.packb(hello))
    stream, at, pulse = msgpack.Unpacker(), 0, 0
    while data := sock.recv(65536):
        stream.feed(data)
        for m in stream:
            if m[0] == 2:  # welcome: the line covers the numbers from m[10] on
                at, position = m[10], position if m[11] == 1 else m[10]  # 1: resumed
                lineage, whole = m[4], whole and m[11] == 1 or position == 1
            elif m[0] in (3, 4):  # refusal, goodbye
                if not m[3]:
                    sys.exit(m[2])
                time.sleep(m[4] / 1e9)
                return
            elif m[0] == 10:  # session: the line goes on in another one
                lineage, whole, at, position = m[2], whole and m[5] == at, m[5], m[5]
            elif m[0] == 9:  # snapshot end: all before m[1] is in it
                position, whole = max(position, m[1]), True
            if m[0] in (5, 6) and m[2 if m[0] == 5 else 1] != at:  # packets and heartbeats must join
                raise OSError(f"what comes after {at} is missing: {m[:4]}")
            entries = msgpack.Unpacker()
            entries.feed(m[-1] if m[0] in (5, 8) else b"")  # packet, snapshot part
            for entry in entries:
                if isinstance(entry, int):  # not asked for, or withheld
                    at, whole = at + abs(entry), whole and entry > 0
                elif entry[0] >> 1 == 10:  # gone: a snapshot follows, as after withheld numbers
                    at, whole = at + entry[1], False
                else:
                    if entry[0] >> 1 == 1:  # definition
                        symbols[entry[1]] = entry[3]
                    if m[0] == 5 and at >= position:
                        values = (str(v).rstrip("\0") for v in entry[3:])
                        print(at, entry[0] >> 1, symbols.get(entry[1], "?"), *values, flush=True)
                        left -= 1
                        if left == 0:
                            sys.exit()
                    at += m[0] == 5
                if m[0] == 5 and at > position:  # something new: the next wait begins anew
                    position, wait = at, 0
        if time.monotonic() > pulse:  # a sign of life each interval
            sock.sendall(msgpack.packb([13, position, 0]))
            pulse = time.monotonic() + 1


while True:
    try:
        with socket.create_connection((host, int(port)), 3) as sock:  # silent for 3 s is dead
            follow(sock)
    except OSError as e:
        print("#", e, file=sys.stderr)
    time.sleep(random.uniform(0, wait))  # at once, then exponential with full jitter
    wait = min(max(2 * wait, 0.1), 30)
