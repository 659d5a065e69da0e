"""The server itself: an event loop on a thread of its own, and Python's way to the controls."""

from __future__ import annotations

import asyncio
import threading
from datetime import date
from types import TracebackType
from typing import Any

from aiohttp import web

from local.speech import chat, control, models, realtime, speech
from local.speech.desk import Desk, Settings
from local.speech.engines import engines
from local.speech.exchange import DESK, attend, finish_headers
from local.speech.faults import Fault
from local.speech.ledger import Charge, Seen

_BODY_BYTES = 1 << 20


class SpeechServer:
    """Listens on `host` inside a `with` block. Raises OSError where the port is taken.

    Keyword arguments are the fields of `Settings`. The methods do what the control
    plane does over HTTP, and may be called from any thread.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, **settings: Any) -> None:
        self._host, self._port = host, port
        self._desk = Desk(Settings(**settings))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="speech-server")
        self._thread.daemon = True
        self._runner: web.AppRunner | None = None

    @property
    def root_url(self) -> str:
        """Where the control plane is."""
        return f"http://{self._host}:{self._port}"

    @property
    def base_url(self) -> str:
        """What a client takes for OPENAI_BASE_URL."""
        return f"{self.root_url}/v1"

    def __enter__(self) -> SpeechServer:
        engines()  # none installed: say so now, not in the middle of a request
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        except BaseException:
            self._stop_loop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._desk.faults.clear()
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._stop_loop()

    @property
    def voice(self) -> str:
        """The name of the engine that speaks."""
        return engines()[0].name

    def add_fault(self, fault: str, **rule: Any) -> None:
        """A rule for coming requests, with the fields of `Fault`."""
        self._desk.faults.add(Fault(fault=fault, **rule))

    def clear_faults(self) -> None:
        """No rule any more; what `hold` held is answered."""
        self._desk.faults.clear()

    @property
    def charges(self) -> list[Charge]:
        """What was billed so far, oldest first."""
        return self._desk.ledger.charges

    @property
    def requests(self) -> list[Seen]:
        """Every request answered or dropped so far, refused ones too."""
        return self._desk.ledger.seen

    def set_limits(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        model: str | None = None,
    ) -> None:
        """New limits, every bucket full again."""
        self._desk.pace.set(
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            model=model,
        )

    def set_today(self, today: date | None) -> None:
        """The day it takes for today; None is before any model's shutdown."""
        self._desk.today = today

    def set_latency(self, latency_s: float) -> None:
        """For requests that come from now on, and those still waiting to be answered."""
        self._desk.latency_s = latency_s

    def set_responses_per_session(self, count: int | None) -> None:
        """How many a realtime session gives at once; None: any number."""
        self._desk.responses_per_session = count

    @property
    def most_in_flight(self) -> int:
        """The most requests that were being answered at once."""
        return self._desk.crowd.most

    def wait_for_in_flight(self, count: int, timeout_s: float) -> bool:
        """Block until exactly `count` requests are being answered; False if that never was."""
        return self._desk.crowd.wait_for(count, timeout_s)

    async def _start(self) -> None:
        runner = web.AppRunner(
            application(self._desk),
            access_log=None,
            # A client that leaves ends what waits for it: stalled, dripping or held answers.
            handler_cancellation=True,
            shutdown_timeout=0.1,
        )
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port, backlog=1024)
        await site.start()
        self._port = runner.addresses[0][1]
        self._runner = runner

    async def _stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._desk.studio.shutdown(wait=False)


def application(desk: Desk) -> web.Application:
    """All routes over one desk."""
    app = web.Application(middlewares=[control.explain, attend], client_max_size=_BODY_BYTES)
    app[DESK] = desk
    app.on_response_prepare.append(finish_headers)
    app.add_routes(
        [
            web.post("/v1/audio/speech", speech.speech),
            web.post("/v1/chat/completions", chat.completions),
            web.get("/v1/realtime", realtime.session),
            web.get("/v1/models", models.listed),
            web.get("/v1/models/{id}", models.one),
            *control.ROUTES,
        ]
    )
    return app
