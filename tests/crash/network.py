"""A network between a worker and a server that refuses, cuts, delays and breaks off."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER so that closing sends RST."""
SLOW_S = 0.02
"""Each piece, each way: some 0.4 s for a flush, and a lease must outlast several."""


class Network:
    """`with Network(port) as network: connect to network.port`. `fault` is drawn a connection.

    Of "refuse" (closed at once), "cut" (broken off in the middle of an answer), "slow" (each
    piece a little late), or None.
    """

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.fault: Callable[[], str | None] = lambda: None
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._refusals = threading.Semaphore(0)

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

    def wait_for_refusals(self, count: int, timeout_s: float) -> bool:
        """Until so many more connections were refused; whether they were."""
        return all(self._refusals.acquire(timeout=timeout_s) for _ in range(count))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        fault = self.fault()
        if fault == "refuse":
            _reset(client)
            self._refusals.release()
            return
        try:
            server = socket.create_connection(self._target)
        except OSError:
            _reset(client)
            return
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._live |= {client, server}
        budget = random.randint(1, 2000) if fault == "cut" else None
        delay_s = SLOW_S if fault == "slow" else 0.0
        threading.Thread(
            target=self._pump, args=(client, server, None, delay_s), daemon=True
        ).start()
        self._pump(server, client, budget, delay_s)

    def _pump(
        self, source: socket.socket, sink: socket.socket, budget: int | None, delay_s: float
    ) -> None:
        try:
            while data := source.recv(65536):
                if delay_s:
                    time.sleep(delay_s)
                if budget is not None and len(data) >= budget:
                    sink.sendall(data[:budget])
                    break
                budget = None if budget is None else budget - len(data)
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            with self._lock:
                self._live.discard(each)
            _reset(each)


def _reset(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
