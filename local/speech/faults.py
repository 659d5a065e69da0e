"""Faults on demand: which there are, and the rules that say when one is committed."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from local.speech.refusals import REFUSALS, Refusal


class Kind(Enum):
    """How a fault comes about, and so which routes can commit it."""

    REFUSAL = "refused, not charged"
    TRANSPORT = "the answer doesn't arrive whole, in time, or at all"
    MASQUERADE = "a success that isn't audio"
    CLIP = "audio, but not of the text"
    BYTES = "MP3 bytes that differ from a sound clip"
    WORDS = "a model that doesn't read aloud what it was given"
    SESSION = "realtime only"
    HEADERS = "a sound answer with other headers"


_OTHER_FAULTS: dict[str, tuple[Kind, str]] = {
    "drop_early": (Kind.TRANSPORT, "closed before the work: no answer, not charged"),
    "drop": (Kind.TRANSPORT, "closed after the work: no answer, charged"),
    "cut": (Kind.TRANSPORT, "chunked, closed without the last chunk after `at` of the body"),
    "cut_length": (Kind.TRANSPORT, "Content-Length promised more than came"),
    "cut_unframed": (Kind.TRANSPORT, "neither length nor chunks: the cut looks like the end"),
    "drip": (Kind.TRANSPORT, "the body in small pieces over `seconds` (60)"),
    "stall": (Kind.TRANSPORT, "nothing more after `at` of the body, until the client leaves"),
    "hang": (Kind.TRANSPORT, "no answer at all, until the client leaves"),
    "hold": (Kind.TRANSPORT, "a sound answer, but only once this rule is cleared"),
    "slow": (Kind.TRANSPORT, "a sound answer, `seconds` (5) later"),
    "empty": (Kind.MASQUERADE, "200 and no byte"),
    "no_content": (Kind.MASQUERADE, "204"),
    "json": (Kind.MASQUERADE, "200 with a JSON error inside"),
    "html": (Kind.MASQUERADE, "200 with a gateway's page"),
    "sse": (Kind.MASQUERADE, "200 with server-sent events"),
    "silent": (Kind.CLIP, "silence of a plausible length (4 of 67 real tts-1 words)"),
    "hiss": (Kind.CLIP, "noise at -62 dBFS of a plausible length"),
    "noise": (Kind.CLIP, "loud noise"),
    "tone": (Kind.CLIP, "440 Hz"),
    "padded": (Kind.CLIP, "`seconds` (10) of silence after the speech"),
    "late": (Kind.CLIP, "`seconds` (3) of silence before the speech"),
    "doubled": (Kind.CLIP, "said twice"),
    "wrong_word": (Kind.CLIP, "another text, sound in itself"),
    "faint": (Kind.CLIP, "said 18 dB more softly, sound in itself: a voice that has drifted"),
    "drawled": (Kind.CLIP, "said 1.6 times as slowly, sound in itself: another such voice"),
    "cut_speech": (Kind.CLIP, "stops in mid-sound at `at`, encoded properly"),
    "id3": (Kind.BYTES, "a sound clip after an ID3v2.4 tag, as one real clip had: to be accepted"),
    "cut_frame": (Kind.BYTES, "ends at `at`, exactly between two frames; HTTP is whole"),
    "cut_mid_frame": (Kind.BYTES, "ends at `at`, inside a frame; HTTP is whole"),
    "garbage": (Kind.BYTES, "600 random bytes inside"),
    "trailing": (Kind.BYTES, "100 bytes of text after the last frame"),
    "wav": (Kind.BYTES, "a WAV file under audio/mpeg"),
    "reworded": (Kind.WORDS, "says more than the text; the transcript shows it"),
    "answered": (Kind.WORDS, "answers instead of reading; the transcript shows it"),
    "translated": (Kind.WORDS, "says the words it knows in the other language, English or French"),
    "other_number": (Kind.WORDS, "says another number, where there is one"),
    "dropped_word": (Kind.WORDS, "leaves out a word, where there are several"),
    "extra_word": (Kind.WORDS, "says a word more"),
    "prefaced": (Kind.WORDS, "says “Sure!” or the like first"),
    "no_transcript": (Kind.WORDS, "reads the text, but tells no transcript"),
    "respelled": (
        Kind.WORDS,
        "reads the text, and writes its numbers the other way round (14, fourteen): to be accepted",
    ),
    "no_audio": (Kind.WORDS, "refuses in words, without audio"),
    "full": (Kind.SESSION, "an error event: the session takes no more at once; not charged"),
    "closed": (Kind.SESSION, "closed by the server with a goodbye after `at` of the audio"),
    "session_expired": (Kind.SESSION, "its 60 minutes are over after `at` of the audio"),
    "cancelled": (Kind.SESSION, "status cancelled after `at` of the audio (`code`: why)"),
    "unnamed": (Kind.SESSION, "the response's metadata doesn't come back"),
    "failed": (Kind.SESSION, "response.done with status failed, not charged"),
    "incomplete": (Kind.SESSION, "status incomplete after `at` of the audio (`code`: why)"),
    "error_event": (Kind.SESSION, "an error event instead of a response"),
    "headers": (Kind.HEADERS, "`headers`: a name with a value sets it, with null removes it"),
    "headers_missing": (Kind.HEADERS, "no x-ratelimit-*, request id or processing time"),
    "headers_malformed": (Kind.HEADERS, "x-ratelimit-* that are no numbers and no durations"),
}

KINDS = {name: kind for name, (kind, _) in _OTHER_FAULTS.items()} | dict.fromkeys(
    REFUSALS, Kind.REFUSAL
)

FAULTS = {name: text for name, (_, text) in _OTHER_FAULTS.items()} | {
    name: f"{refusal.status}: {refusal.message or refusal.detail}"
    for name, refusal in REFUSALS.items()
}
"""Every fault by name, with what the client sees."""

_RATE_HEADERS = [
    f"x-ratelimit-{what}-{kind}"
    for what in ("limit", "remaining", "reset")
    for kind in ("requests", "tokens")
]
_HEADER_FAULTS: dict[str, dict[str, str | None]] = {
    "headers_missing": dict.fromkeys(
        [*_RATE_HEADERS, "x-request-id", "openai-processing-ms", "openai-version"]
    ),
    "headers_malformed": dict(
        zip(_RATE_HEADERS, ["unlimited", "", "-1", "1e", "soon", "1 minute"], strict=True)
    ),
}
_DEFAULT_SECONDS = {"drip": 60.0, "slow": 5.0, "padded": 10.0, "late": 3.0}


class Fault(BaseModel):
    """One rule: commit `fault` on the next `times` requests that match (None = on all).

    Or only on a `share` (0-1) of them: chance decides by `seed`, the text and how often it
    was asked for, so that a run that is replayed meets the same faults. `match` is a
    regular expression searched in the input text, `model` a model id; the rest alters the
    fault's own defaults: `status`, `type`, `code`, `message`, `retry_after` and
    `retry_after_ms` of a refusal, `at` (share of the body, 0-1), `seconds`, and `headers`,
    which any fault can have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: str
    match: str | None = None
    model: str | None = None
    times: int | None = Field(default=None, ge=1)
    share: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0
    status: int | None = Field(default=None, ge=400, le=599)
    type: str | None = None
    code: str | None = None
    message: str | None = None
    retry_after: str | None = None
    retry_after_ms: str | None = None
    at: float = Field(default=0.6, ge=0, le=1)
    seconds: float | None = Field(default=None, ge=0)
    headers: dict[str, str | None] = Field(default_factory=dict)

    @field_validator("fault")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FAULTS:
            raise ValueError(f"unknown fault; there are: {', '.join(sorted(FAULTS))}")
        return name

    @field_validator("match")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as broken:
            raise ValueError(f"not a regular expression: {broken}") from broken
        return pattern

    @property
    def kind(self) -> Kind:
        return KINDS[self.fault]

    @property
    def duration_s(self) -> float:
        return _DEFAULT_SECONDS[self.fault] if self.seconds is None else self.seconds

    @property
    def header_changes(self) -> dict[str, str | None]:
        return _HEADER_FAULTS.get(self.fault, {}) | self.headers

    def refusal(self) -> Refusal:
        """The error answer of a REFUSAL fault, as this rule alters it."""
        plain = REFUSALS[self.fault]
        asked = {"retry-after": self.retry_after, "retry-after-ms": self.retry_after_ms}
        given = {name: value for name, value in asked.items() if value is not None}
        return replace(
            plain,
            status=self.status or plain.status,
            type=self.type or plain.type,
            code=self.code or plain.code,
            message=self.message or plain.message,
            headers=given or plain.headers,
        )

    def strikes(self, text: str, nth: int) -> bool:
        """Whether chance has it committed on the `nth` request for `text`."""
        return random.Random(f"{self.seed}/{self.fault}/{nth}/{text}").random() < self.share

    def applies(self, text: str, model: str, kinds: Iterable[Kind]) -> bool:
        return (
            self.kind in kinds
            and (self.model is None or self.model == model)
            and (self.match is None or re.search(self.match, text) is not None)
        )


class FaultBook:
    """The rules in force, oldest first. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[int, tuple[Fault, int | None]] = {}
        self._asked: Counter[tuple[int, str]] = Counter()
        self._next = 0

    def add(self, *rules: Fault) -> None:
        with self._lock:
            for rule in rules:
                self._left[self._next] = rule, rule.times
                self._next += 1

    def clear(self) -> None:
        """Forget every rule, and let go of what `hold` holds."""
        with self._lock:
            self._left.clear()

    def pick(
        self,
        text: str,
        model: str,
        kinds: Iterable[Kind],
        can: Callable[[Fault], bool] = lambda _: True,
    ) -> Fault | None:
        """The first rule that applies, `can` be committed and strikes, used up by one."""
        with self._lock:
            for key, (rule, left) in self._left.items():
                if left == 0 or not rule.applies(text, model, kinds) or not can(rule):
                    continue
                self._asked[key, text] += 1
                if not rule.strikes(text, self._asked[key, text]):
                    continue
                self._left[key] = rule, None if left is None else left - 1
                return rule
        return None

    def stands(self, fault: Fault) -> bool:
        """Whether the rule hasn't been cleared, used up or not."""
        with self._lock:
            return any(rule is fault for rule, _ in self._left.values())

    def listed(self) -> list[dict[str, Any]]:
        """The rules as JSON values, `left` being what remains of `times`."""
        with self._lock:
            return [rule.model_dump() | {"left": left} for rule, left in self._left.values()]
