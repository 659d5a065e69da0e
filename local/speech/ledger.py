"""What the server was asked, and what it charged for."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request for speech, as far as it was understood."""

    request_id: str
    route: str
    """"speech", "chat" or "realtime"; the path for anything else."""
    model: str | None = None
    voice: str | None = None
    input: str | None = None
    instructions: str | None = None
    speed: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One request that a provider would bill: it was synthesized, whatever became of the answer."""

    time: float
    """Seconds since 1970."""
    request_id: str
    route: str
    model: str
    voice: str
    input: str
    instructions: str | None
    speed: float
    status: int
    take: int
    """1 for the first charge of the same model, voice, input, instructions and speed."""
    characters: int
    language: str
    """What it was spoken in, after the guess."""
    fault: str | None
    said: str | None
    """What can be heard; None where the clip breaks off or is damaged."""
    seconds: float
    """How long the sound is, before it travels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request, good or bad. `status` is None where the connection was closed instead."""

    time: float
    request_id: str
    route: str
    model: str | None
    voice: str | None
    input: str | None
    status: int | None
    code: str | None
    """The error's, if one was sent."""
    fault: str | None


class Ledger:
    """Both logs. Thread-safe; with a file, each charge is in it before its answer starts."""

    def __init__(self, charges_path: Path | None = None) -> None:
        self._path = charges_path
        self._lock = threading.Lock()
        self._charges: list[Charge] = []
        self._seen: list[Seen] = []
        self._takes: Counter[tuple[object, ...]] = Counter()

    def charge(
        self,
        ask: Ask,
        *,
        status: int,
        language: str,
        fault: str | None,
        said: str | None,
        seconds: float,
    ) -> Charge:
        what = (ask.model, ask.voice, ask.input, ask.instructions, ask.speed)
        text = ask.input or ""
        with self._lock:
            self._takes[what] += 1
            charge = Charge(
                time=time.time(),
                **asdict(ask) | {"model": ask.model or "", "voice": ask.voice or "", "input": text},
                status=status,
                take=self._takes[what],
                characters=len(text),
                language=language,
                fault=fault,
                said=said,
                seconds=seconds,
            )
            self._charges.append(charge)
            if self._path:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(charge), ensure_ascii=False) + "\n")
        return charge

    def saw(self, ask: Ask, *, status: int | None, code: str | None, fault: str | None) -> None:
        seen = Seen(
            time=time.time(),
            request_id=ask.request_id,
            route=ask.route,
            model=ask.model,
            voice=ask.voice,
            input=ask.input,
            status=status,
            code=code,
            fault=fault,
        )
        with self._lock:
            self._seen.append(seen)

    @property
    def charges(self) -> list[Charge]:
        with self._lock:
            return list(self._charges)

    @property
    def seen(self) -> list[Seen]:
        with self._lock:
            return list(self._seen)
