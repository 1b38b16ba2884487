"""Prints live quotes: quotes.py HOST:PORT [COUNT]"""
import socket, sys, time
from decimal import Decimal
import msgpack

host, port = sys.argv[1].rsplit(":", 1)
left, instruments, pulse = int(sys.argv[2]) if len(sys.argv) > 2 else -1, {}, 0
sock = socket.create_connection((host, int(port)))
sock.sendall(msgpack.packb([1, 1, 1, "quotes.py", "", [], 0, 0, 0, 0, 10**9, False, [], 0]))  # hello
stream = msgpack.Unpacker()
while left and (data := sock.recv(65536)):
    stream.feed(data)
    for message in stream:
        if message[0] in (3, 4):  # refusal, goodbye
            sys.exit(message[2])
        entries = msgpack.Unpacker()
        entries.feed(message[-1] if message[0] in (5, 8) else b"")  # packet, snapshot part
        for entry in entries:
            kind = entry[0] >> 1 if isinstance(entry, list) else 0
            if kind == 1:  # definition: symbol, price exponent
                instruments[entry[1]] = entry[3], entry[5]
            elif kind == 2 and message[0] == 5 and left:  # quote: bid, bid size, ask, ask size
                symbol, exponent = instruments[entry[1]]
                bid, ask = ("-" if p is None else Decimal(p).scaleb(exponent) for p in (entry[3], entry[5]))
                print(symbol, bid, "x", entry[4], ask, "x", entry[6], flush=True)
                left -= 1
    if time.monotonic() > pulse:  # a sign of life each interval
        sock.sendall(msgpack.packb([13, 0, 0]))
        pulse = time.monotonic() + 1
