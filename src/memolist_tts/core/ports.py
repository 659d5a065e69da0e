"""What the core asks of the world. Adapters implement these; `assemble` wires them."""

from __future__ import annotations

from typing import Protocol

from memolist_tts.core.model import Speech, SpeechRequest, Voice


class Speaker(Protocol):
    """Text to speech. Thread-safe: one instance serves all threads of a run."""

    def request(self, text: str, voice: Voice) -> SpeechRequest:
        """What would be sent for `text`, as plain JSON values. Pure: no I/O.

        Holds the provider's identity and only the parameters really sent; the
        audio key is made of it, so the same input must give the same value in
        every later version. Raises `UtteranceRefused` (`too_long`) where the
        provider would surely refuse.
        """
        ...

    def speak(self, request: SpeechRequest, timeout_s: float) -> Speech:
        """Send one request, once (no retries), and return the audio.

        `timeout_s` bounds each wait for bytes, not the whole call: the caller
        abandons what overruns. Raises a `SpeechError`. The bytes are not judged
        here, but an answer that isn't speech at all is the verdict's business too.
        """
        ...


class Storage(Protocol):
    """Immutable objects by name. Thread-safe. Every method raises `StorageError`."""

    def put(self, name: str, mp3: bytes) -> bool:
        """Store if absent. False: an object of that name was there and stays as it is."""
        ...

    def read(self, name: str) -> bytes | None:
        """The object's bytes, or None if there surely is none (a 403 is a fault)."""
        ...

    def url(self, name: str) -> str:
        """The public address a card carries. Pure."""
        ...

    def owns(self, url: str) -> bool:
        """Whether `url` is an address this store gives out (under PUBLIC_BASE_URL). Pure."""
        ...


class Wake(Protocol):
    """The queue that wakes workers."""

    def send(self, job_id: str, *, group: str, delay_s: float = 0) -> None:
        """Ask for a run over `job_id` after `delay_s` (seconds, capped at the queue's 900).

        `group` is the user (or the job where none is known), for fair queueing.
        Raises `WakeError`.
        """
        ...
