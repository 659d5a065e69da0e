"""A network between a worker and a server that refuses, cuts, delays and breaks off."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Literal, Self

Trouble = Literal["refuse", "cut", "cut_request", "slow"]
"""Of one connection: closed at once; broken off in the middle of an answer, or of a request;
or each piece a little late."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER so that closing sends RST."""
SLOW_S = 0.02
"""Each piece, each way: some 0.4 s for a flush, and a lease must outlast several."""


class Network:
    """`with Network(port) as network: connect to network.port`.

    `fault` is each new connection's. One that is to be cut is after at most `cut_within`
    bytes, drawn from `seed`. `met` counts the faults that came about: a slow connection's
    with each piece.
    """

    def __init__(self, target_port: int, *, seed: int = 0, cut_within: int = 2000) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.fault: Trouble | None = None
        self.met: Counter[Trouble] = Counter()
        self._once: Trouble | None = None
        self._chance = random.Random(seed)
        self._cut_within = cut_within
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        self.break_off()

    def break_off(self) -> None:
        """Every connection there is."""
        with self._lock:
            live, self._live = self._live, set()
        for each in live:
            _reset(each)

    def trouble(self, fault: Trouble) -> None:
        """Break everything off; the next connection has that fault."""
        with self._lock:
            self._once = fault
        self.break_off()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _next(self, client: socket.socket) -> tuple[Trouble | None, int]:
        """A new connection's fault, and after how many bytes it would be cut."""
        with self._lock:
            fault, self._once = self._once or self.fault, None
            # At once: or trouble that comes now would neither break it off nor be its own.
            self._live.add(client)
            return fault, self._chance.randint(1, self._cut_within)

    def _serve(self, client: socket.socket) -> None:
        fault, left = self._next(client)
        if fault == "refuse":
            self._had(fault)
            _reset(client)
            return
        try:
            server = socket.create_connection(self._target)
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._not_had(fault)
            _reset(client)
            return
        with self._lock:
            self._live.add(server)
        to_server = (client, server, fault if fault in ("cut_request", "slow") else None, left)
        threading.Thread(target=self._pump, args=to_server, daemon=True).start()
        self._pump(server, client, fault if fault in ("cut", "slow") else None, left)

    def _pump(
        self, source: socket.socket, sink: socket.socket, fault: Trouble | None, left: int
    ) -> None:
        self._pass_on(source, sink, fault, left)
        for each in (source, sink):
            with self._lock:
                self._live.discard(each)
            _reset(each)

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, fault: Trouble | None, left: int
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if fault == "slow":
                    time.sleep(SLOW_S)
                    self._had(fault)
                elif fault is not None and len(data) >= left:
                    sink.sendall(data[:left])
                    self._had(fault)
                    return
                left -= len(data)
                sink.sendall(data)
        # It was too short: the next one's.
        self._not_had(fault)

    def _had(self, fault: Trouble) -> None:
        with self._lock:
            self.met[fault] += 1

    def _not_had(self, fault: Trouble | None) -> None:
        if fault in ("cut", "cut_request"):
            with self._lock:
                self._once = fault


def _reset(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
