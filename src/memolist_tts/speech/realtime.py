"""OpenAI's Realtime API: a small pool of sessions for each voice, many texts in parallel."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import httpx2
import openai
from openai.resources.realtime.realtime import RealtimeConnection

from memolist_tts.core.errors import NetworkFault, Throttled
from memolist_tts.core.model import Speech, SpeechRequest
from memolist_tts.speech import encoder
from memolist_tts.speech.session import LIFETIME_S, Session, SessionFull

if TYPE_CHECKING:
    import ssl

TEXTS = 8
"""At once in a session, before another is opened: what the loss of one takes along."""
SESSIONS = 8
"""At once for a voice. Where that isn't enough, each takes more texts, if the API does."""
OPEN_S = 10.0
KEEPALIVE_S = 10.0
"""Between pings, and for the answer to one: a dead peer is known within twice that."""
GOODBYE_S = 1.0


class RealtimeSpeaker:
    """A `Speaker` over realtime sessions. The client is the caller's to close.

    A voice can't change once a session has spoken, so there is a pool of sessions for
    each model, voice and speed. How many answers one session gives at once isn't
    documented: where the API says that it's too many, no session gets more, and the
    text is taken to another one. Audio comes as PCM and is encoded here.
    """

    def __init__(
        self,
        client: openai.OpenAI,
        *,
        lifetime_s: float = LIFETIME_S,
        keepalive_s: float = KEEPALIVE_S,
    ) -> None:
        encoder.require()
        self._client = client
        self._lifetime_s = lifetime_s
        self._keepalive_s = keepalive_s
        self._lock = threading.Lock()
        self._pools: dict[str, _Pool] = {}

    def speak(self, request: SpeechRequest, timeout_s: float) -> Speech:
        """As `Speaker.speak`. A session that can't start is `Misconfigured`, not the card's."""
        pool = self._pool(request)
        until = time.monotonic() + timeout_s
        while True:
            with pool.place(until) as session:
                try:
                    return session.read(request["response"], timeout_s)
                except SessionFull as full:
                    pool.narrow(full.active)

    def rest(self) -> None:
        """As `Speaker.rest`: end every session; what is in flight is cancelled."""
        with self._lock:
            pools, self._pools = self._pools, {}
        goodbyes = [goodbye for pool in pools.values() for goodbye in pool.close()]
        until = time.monotonic() + GOODBYE_S
        for goodbye in goodbyes:
            goodbye.join(max(0.0, until - time.monotonic()))

    def _pool(self, request: SpeechRequest) -> _Pool:
        name = json.dumps([request["model"], request["session"]], sort_keys=True)
        with self._lock:
            if name not in self._pools:
                self._pools[name] = _Pool(partial(self._session, request))
            return self._pools[name]

    def _session(self, request: SpeechRequest) -> Session:
        return Session(
            partial(self._connect, str(request["model"])),
            request["session"],
            secret=self._client.api_key,
            lifetime_s=self._lifetime_s,
        )

    def _connect(self, model: str, timeout_s: float) -> RealtimeConnection:
        # More than the client's type of these names: it hands all to websockets.
        options: Any = {
            "open_timeout": min(OPEN_S, timeout_s),
            "close_timeout": GOODBYE_S,
            "ping_interval": self._keepalive_s,
            "ping_timeout": self._keepalive_s,
        }
        if self._client.base_url.scheme == "https":
            options["ssl"] = self._tls
        return self._client.realtime.connect(
            model=model, websocket_connection_options=options
        ).enter()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """One for all sessions, which trusts whom the other routes trust."""
        return httpx2.create_ssl_context()


class _Pool:
    """The sessions of one voice: opened as the load asks, the least busy one taken."""

    def __init__(self, make: Callable[[], Session]) -> None:
        self._make = make
        self._changed = threading.Condition()
        self._load: dict[Session, int] = {}
        """Texts in each session, or waiting for it to open."""
        self._most = math.inf
        """Texts that the API takes at once in a session, once it has refused one."""
        self._is_over = False

    @contextmanager
    def place(self, until: float) -> Iterator[Session]:
        """A place in a session for one text, waited for `until` (seconds, monotonic).

        Nobody waits for a connection but those who are to speak on it. Raises
        `Throttled` where no place is free in time.
        """
        session, is_new = self._take(until)
        try:
            if is_new:
                session.open(max(0.0, until - time.monotonic()))
            yield session
        finally:
            self._leave(session)

    def narrow(self, active: int) -> None:
        """The API took no more than `active` texts in a session."""
        with self._changed:
            self._most = min(self._most, active)

    def close(self) -> list[threading.Thread]:
        """End every session, and whoever waits for a place."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            return [session.close() for session in self._load]

    def _take(self, until: float) -> tuple[Session, bool]:
        with self._changed:
            while (session := self._choice()) is None:
                left_s = until - time.monotonic()
                if left_s <= 0:
                    raise Throttled(
                        f"The provider takes {self._most:g} texts at once in a session, and all "
                        f"{SESSIONS} sessions are taken. Lower MAX_IN_FLIGHT if this stays."
                    )
                self._changed.wait(left_s)
            is_new = session not in self._load
            self._load[session] = self._load.get(session, 0) + 1
            return session, is_new

    def _choice(self) -> Session | None:
        """The session for the next text; None where all are full."""
        if self._is_over:
            raise NetworkFault("The run is over; the text was not sent.", maybe_billed=False)
        self._drop_unusable()
        now = time.monotonic()
        usable = {each: load for each, load in self._load.items() if each.is_usable(now)}
        # One that is still opening only where the open ones are full.
        roomy = [each for each, load in usable.items() if load < min(TEXTS, self._most)]
        if roomy:
            return min(roomy, key=lambda each: (not each.is_open, usable[each]))
        if len(usable) < SESSIONS:
            return self._make()
        least = min(usable, key=lambda each: usable[each])
        return least if usable[least] < self._most else None

    def _leave(self, session: Session) -> None:
        with self._changed:
            self._load[session] -= 1
            if not self._is_over:
                self._drop_unusable()
            self._changed.notify_all()

    def _drop_unusable(self) -> None:
        """Say goodbye to what has failed or grown old, once its last text is read."""
        now = time.monotonic()
        over = [s for s, load in self._load.items() if not load and not s.is_usable(now)]
        for session in over:
            del self._load[session]
            session.close()
