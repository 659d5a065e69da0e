"""Whether a deployment can speak: one finding a part, each with its fix. It changes nothing."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, TypeAlias

from memolist_tts.assemble import Worker, api_key
from memolist_tts.core.counting import counted
from memolist_tts.core.errors import (
    DatabaseError,
    KeyRefused,
    MemolistError,
    Misconfigured,
    SchemaMismatch,
    TryAgain,
)
from memolist_tts.core.model import Options, Phrase, Result
from memolist_tts.core.plan import line_of
from memolist_tts.core.preview import hear
from memolist_tts.postgres.schema import missing_indexes
from memolist_tts.route import Ending
from memolist_tts.speech.models import known, told_of

MOST_SKEW_S = 5.0
"""Between this clock and the database's: signatures live on the one, leases on the other."""
SPEAK_TIMEOUT_S = 20.0
EVER_S = 100 * 365 * 86_400.0
SAMPLE = 5
"""Clips that are looked for; `verify` looks for all."""
WORD = "Memolist."
"""Said by --speak: a name is the same in every language."""
UNASKED = "not asked for a word: what it costs can't be written down. Mend the database first"


class State(StrEnum):
    """How a part is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but act before it doesn't."""
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One part of the deployment, in a line."""

    part: str
    state: State
    told: str
    """What was found; for a warning or a fault with its fix."""


Look: TypeAlias = Callable[[Worker], tuple[State, str]]


def examine(worker: Worker, *, speak: bool = False) -> Iterator[Finding]:
    """Look at each part; what can't be seen because of another's fault is left out.

    With `speak`, each language says a word: that costs a fraction of a cent, which the
    books have. So nothing is said while the database is at fault.
    """
    database = list(_examine_database(worker))
    yield from database
    yield _found("storage", _storage, worker)
    has_books = all(each.state is not State.FAULT for each in database)
    if has_books:
        yield _found("clips", _clips, worker)
    yield _found("queue", _queue, worker)
    provider = list(_examine_provider(worker))
    yield from provider
    if any(each.state is State.FAULT for each in provider):
        return
    for language in worker.settings.LANGUAGES:
        if speak and not has_books:
            yield Finding(f"voice {language.code}", State.WARNING, UNASKED)
            continue
        look = partial(_voice, language=language.code, speak=speak)
        yield _found(f"voice {language.code}", look, worker)


def _found(part: str, look: Look, worker: Worker) -> Finding:
    try:
        return Finding(part, *look(worker))
    except MemolistError as error:
        return Finding(part, State.FAULT, str(error))


def _examine_database(worker: Worker) -> Iterator[Finding]:
    try:
        api = worker.api
    except DatabaseError as error:
        yield Finding("database", State.FAULT, str(error))
        return
    except SchemaMismatch as error:
        yield Finding("database", State.OK, "answers")
        yield Finding("tables", State.FAULT, str(error))
        return
    at = worker.database.address
    yield Finding("database", State.OK, f"{at.host}:{at.port}/{at.database} answers")
    yield Finding("tables", State.OK, f"{api.jobs.name}, {api.cards.name} and the schema tts")
    yield _found("indexes", _indexes, worker)
    yield _found("clock", _clock, worker)
    yield _found("pauses", _pauses, worker)
    yield _found("canary", _canary, worker)


def _indexes(worker: Worker) -> tuple[State, str]:
    missing = missing_indexes(worker.database, worker.api)
    if not missing:
        return State.OK, "every search of ours has one"
    return State.WARNING, f"slow once the tables are large. On the API's side: {'; '.join(missing)}"


def _clock(worker: Worker) -> tuple[State, str]:
    skew_s = (datetime.now(UTC) - worker.operator.clock()).total_seconds()
    if abs(skew_s) <= MOST_SKEW_S:
        return State.OK, f"{abs(skew_s):.1f} s from the database's"
    side = "ahead of" if skew_s > 0 else "behind"
    return (
        State.WARNING,
        f"this machine is {abs(skew_s):.0f} s {side} the database: set both by NTP "
        "(S3 refuses signatures that are minutes off)",
    )


def _pauses(worker: Worker) -> tuple[State, str]:
    pauses = worker.operator.pauses()
    if not pauses:
        return State.OK, "none"
    told = [
        f"jobs of {each['user_id']} aren't claimed: {each['message']}; lift it with "
        f"`memolist-tts resume --user {shlex.quote(each['user_id'])}`"
        for each in pauses
        if each["user_id"] is not None
    ]
    of_all = [f"{each['code']}: {each['message']}" for each in pauses if each["user_id"] is None]
    if of_all:
        reasons = "; ".join(of_all)
        told.insert(0, f"no job is claimed: {reasons}; lift it with `memolist-tts resume`")
    return State.WARNING, ". ".join(told)


def _canary(worker: Worker) -> tuple[State, str]:
    last = worker.canaries.last()
    if last is None:
        return State.OK, "none has run: `memolist-tts canary` tells later ones what to hear"
    heard = worker.canaries.last(is_heard=True)
    if heard is not None and heard["to_hear"]:
        return (
            State.WARNING,
            f"{_day(heard)}: {heard['to_hear']} of {heard['phrases']} phrases aren't spoken as "
            "accepted. `memolist-tts canary --out FOLDER` speaks them anew and tells how to "
            "accept what is heard",
        )
    if last["code"]:
        reason = f"{last['code']}: {last['message']}"
        return State.WARNING, f"{_day(last)}: not all could be measured: {reason}"
    return State.OK, f"{_day(last)}: {last['phrases']} phrases as accepted"


def _day(canary: Mapping[str, Any]) -> str:
    return f"{canary['started_at']:%Y-%m-%d %H:%M} UTC"


def _storage(worker: Worker) -> tuple[State, str]:
    worker.storage.prove()
    settings = worker.settings
    if settings.STORAGE_TYPE == "s3":
        return State.OK, f"s3://{settings.AWS_S3_BUCKET} takes clips"
    return State.OK, f"{settings.LOCAL_STORAGE_PATH.resolve()} takes clips"


def _clips(worker: Worker) -> tuple[State, str]:
    """Whether the store is the one that has the clips: jobs reuse them without asking it."""
    page = next(worker.stock.stored(since_s=EVER_S), ())
    looked = page[:: max(1, len(page) // SAMPLE)][:SAMPLE]
    missing = sum(worker.storage.size(row["object_name"]) is None for row in looked)
    if not missing:
        return State.OK, f"{counted(len(looked), 'clip')} looked for, and found in the store"
    return (
        State.FAULT,
        f"{missing} of {counted(len(looked), 'clip')} looked for {'is' if missing == 1 else 'are'} "
        "not in the store, and jobs give cards their URLs all the same. If the store has changed "
        "(STORAGE_TYPE, LOCAL_STORAGE_PATH, AWS_S3_BUCKET), copy the former one's files there; "
        "`memolist-tts verify` names each that is missing",
    )


def _queue(worker: Worker) -> tuple[State, str]:
    if worker.wake is None:
        return State.OK, "QUEUE_URL is not set: `memolist-tts poll` and the sweep need none"
    worker.wake.prove()
    return State.OK, f"{worker.settings.QUEUE_URL} answers"


def _examine_provider(worker: Worker) -> Iterator[Finding]:
    """Key and model, by one question that costs nothing, and the model's end."""
    fault: MemolistError | None = None
    told: Mapping[str, Any] = {}
    try:
        told = told_of(worker.client, worker.way().model)
    except MemolistError as error:
        fault = error
    if isinstance(fault, KeyRefused):
        yield Finding("key", State.FAULT, str(fault))
        return
    if isinstance(fault, TryAgain):
        yield Finding("provider", State.FAULT, str(fault))
        return
    is_none = api_key(worker.settings) == "none"
    yield Finding("key", State.OK, "none is needed" if is_none else "accepted")
    way = worker.way()
    named = f"{way.model} by TTS_PROVIDER={way.route}"
    if fault is None:
        yield Finding("model", State.OK, named)
    elif worker.settings.is_openai or (isinstance(fault, Misconfigured) and fault.about):
        yield Finding("model", State.FAULT, str(fault))
    else:
        untold = "the server doesn't tell of its models, --speak asks it for a word"
        yield Finding("model", State.OK, f"{named}; {untold}")
    yield Finding("shutdown", *_shutdown(worker.ending(told)))


def _shutdown(ending: Ending | None) -> tuple[State, str]:
    if ending is None:
        return State.OK, "no end of the model is announced"
    if ending.days < 0:
        ago = f"{counted(-ending.days, 'day')} ago"
        return State.FAULT, f"{ending.model} was closed {ago}. {ending.fix}"
    told = f"{ending.model} is closed in {counted(ending.days, 'day')}"
    return (State.WARNING, f"{told}. {ending.fix}") if ending.is_near else (State.OK, told)


def _voice(worker: Worker, *, language: str, speak: bool) -> tuple[State, str]:
    voice = worker.voice(language, Options())
    if not speak:
        is_known = known(voice.model) is not None
        return State.OK, voice.name if is_known else f"{voice.name}, not checked (--speak does)"
    word = Phrase(card_id="", language=language, shown=WORD, url=None)
    line = line_of(word, worker.script(Options(), {}))
    if isinstance(line, Result):
        return State.FAULT, f"{line.code}: {line.message}"
    speaker = worker.speaker()
    heard = hear(line, speaker, worker.clips, worker.ledger, timeout_s=SPEAK_TIMEOUT_S)
    if not heard.is_sound:
        return State.FAULT, f"{voice.name} doesn't speak well: {heard.reason}. Try another voice"
    return State.OK, f"{voice.name} said {WORD!r} in {heard.speech_ms / 1000:.1f} s"
