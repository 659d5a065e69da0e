"""Errors as a tree, split by what to do next. Callers match types, never texts."""

from __future__ import annotations

from memolist_tts.core.model import Limits


class MemolistError(Exception):
    """Anything this project raises on purpose; its text names the fix."""


class BadInput(MemolistError):
    """What was typed can't be meant, whatever the data: the text names the field and the fix."""


class NoSuchJob(MemolistError):
    """No "TtsJob" row has this id (yet: the API may not have committed)."""


class AttemptsUsedUp(MemolistError):
    """The job died too often without progress, and has been failed."""

    code = "attempts_used_up"


class LeaseLost(MemolistError):
    """The job isn't this run's any more: cancelled, deleted, or taken over. Stop."""


class SchemaMismatch(MemolistError):
    """The database lacks tables or columns that the worker needs; lists them all."""


class DatabaseError(MemolistError):
    """PostgreSQL can't be reached, or refused a statement.

    `passes`: it was the server's or the network's state, not what was asked.
    """

    def __init__(self, message: str, *, passes: bool = False) -> None:
        super().__init__(message)
        self.passes = passes


class StorageError(MemolistError):
    """The clip store can't be read or written; nothing is known about the object."""


class WakeError(MemolistError):
    """A message could not be put on the queue; the sweep will wake the job."""


class SpeechError(MemolistError):
    """The provider gave no clip.

    `code` is what utterances and jobs carry (snake case, stable); `request_id`
    the provider's, `limits` what its headers said of the pace, when it said so.
    """

    code = "speech_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        request_id: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.request_id = request_id
        self.limits = limits


class UtteranceRefused(SpeechError):
    """This text will never be spoken as it is (`refused`, `too_long`): the card's error.

    `signature` is (HTTP status, provider's code): the same one for three texts
    and no success is a configuration fault, not three bad cards.
    """

    code = "refused"

    def __init__(
        self,
        message: str,
        *,
        signature: tuple[int, str | None] = (400, None),
        code: str | None = None,
        request_id: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id, limits=limits)
        self.signature = signature


class TryAgain(SpeechError):
    """The same request may well succeed later."""

    code = "provider_down"


class Throttled(TryAgain):
    """Too many requests; `retry_after_s` is what the provider asked for, if it did."""

    code = "throttled"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id, limits=limits)
        self.retry_after_s = retry_after_s


class ProviderBusy(TryAgain):
    """The provider failed on its side (408, 409, 5xx) or sent no audio with a 200."""


class NetworkFault(TryAgain):
    """No whole answer came. `maybe_billed` unless the request surely wasn't sent."""

    def __init__(
        self, message: str, *, maybe_billed: bool = True, request_id: str | None = None
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.maybe_billed = maybe_billed


class StopRun(SpeechError):
    """No utterance of any job would fare better: stop the run, hand back, ring."""


class OutOfMoney(StopRun):
    """Quota, credit or a spend limit is used up."""

    code = "out_of_quota"


class KeyRefused(StopRun):
    """The API key is missing, wrong, revoked or lacks a permission."""

    code = "key_refused"


class Misconfigured(StopRun):
    """Model, voice or endpoint don't exist (any more), or every text is refused alike."""

    code = "misconfigured"
    fix = (
        "Set TTS_PROVIDER, TTS_MODEL, the voices or OPENAI_BASE_URL to what it offers; "
        "OpenAI closes its speech endpoint on 2027-01-06."
    )
    """Ends the text where the provider lacks what was asked of it by the deployment."""

    def __init__(
        self,
        message: str,
        *,
        about: str | None = None,
        request_id: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id, limits=limits)
        self.about = about
        """`voice` or `model`, where the provider names it."""
