"""The one place that wires: settings to adapters to ports. Imports are late where they cost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

from memolist_tts import memory
from memolist_tts.core import canary
from memolist_tts.core.chunk import Ports, Rules, run_chunk
from memolist_tts.core.errors import KeyRefused, MemolistError
from memolist_tts.core.lexicon import Lexicon
from memolist_tts.core.model import Options, Report, SpeechRequest, Voice
from memolist_tts.core.options import BadOptions
from memolist_tts.core.pacing import OPENING_PER_MINUTE
from memolist_tts.core.plan import Script
from memolist_tts.core.ports import Speaker, Storage, Wake
from memolist_tts.postgres.canary import CanaryBook
from memolist_tts.postgres.cards import Cards
from memolist_tts.postgres.clips import Clips
from memolist_tts.postgres.connection import Database
from memolist_tts.postgres.jobs import Jobs
from memolist_tts.postgres.ledger import SpendBook
from memolist_tts.postgres.operator import Operator
from memolist_tts.postgres.orders import Orders
from memolist_tts.postgres.pace import SharedPace
from memolist_tts.postgres.records import Records
from memolist_tts.postgres.schema import Api, inspect
from memolist_tts.postgres.stock import Stock
from memolist_tts.route import Ending, Way, choose, move, option_fault
from memolist_tts.settings import OPENAI_BASE_URL, Settings
from memolist_tts.speech import requests
from memolist_tts.speech.models import announced_end, end_of, known, offers, shutdown_date

if TYPE_CHECKING:
    import openai

    from memolist_tts.wake.eventbridge import EventBus


def identity(settings: Settings) -> str:
    """Whose voices these are, for the audio key: another server's "alloy" is another voice."""
    if settings.OPENAI_BASE_URL == OPENAI_BASE_URL:
        return "openai"
    server = settings.OPENAI_BASE_URL.split("://", 1)[1].split("/", 1)[0]
    return server.rpartition("@")[2].rsplit(":", 1)[0]


def clock() -> float:
    """Seconds that pass while the machine sleeps too, as they do for a lease in the database.

    Linux's CLOCK_MONOTONIC stands still meanwhile (clock_gettime(2)).
    """
    boot: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


@dataclass
class Worker:
    """One process's adapters, made when first needed and kept. One thread uses it."""

    settings: Settings
    _way_of: tuple[date, Way] | None = field(default=None, init=False)
    _ends: dict[tuple[date, str], date | None] = field(default_factory=dict, init=False)

    @cached_property
    def database(self) -> Database:
        return Database(database_url(self.settings))

    @cached_property
    def api(self) -> Api:
        return inspect(self.database, self.settings.LANGUAGES)

    @cached_property
    def jobs(self) -> Jobs:
        return Jobs(self.database, self.api, max_attempts=self.settings.MAX_ATTEMPTS)

    @cached_property
    def operator(self) -> Operator:
        return Operator(self.database, self.api)

    @cached_property
    def records(self) -> Records:
        return Records(self.database, self.api)

    @cached_property
    def cards(self) -> Cards:
        return Cards(self.database, self.api)

    @cached_property
    def clips(self) -> Clips:
        return Clips(self.database)

    @cached_property
    def orders(self) -> Orders:
        return Orders(self.database, self.api)

    @cached_property
    def stock(self) -> Stock:
        return Stock(self.database, self.api)

    @cached_property
    def canaries(self) -> CanaryBook:
        _ = self.api  # which tells a table that is missing
        return CanaryBook(self.database)

    @cached_property
    def ledger(self) -> SpendBook:
        return SpendBook(
            self.database,
            job_budget_usd=self.settings.JOB_BUDGET_USD,
            day_budget_usd=self.settings.DAILY_BUDGET_USD,
        )

    @cached_property
    def wake(self) -> Wake | None:
        if not self.settings.QUEUE_URL:
            return None
        from memolist_tts.wake.sqs import SqsWake, sqs_client

        url = self.settings.QUEUE_URL
        client = sqs_client(url, endpoint_url=os.environ.get("AWS_ENDPOINT_URL"))
        return SqsWake(url, client)

    @cached_property
    def bus(self) -> EventBus | None:
        if not self.settings.EVENT_BUS_NAME:
            return None
        from memolist_tts.wake.eventbridge import EventBus, events_client

        client = events_client(
            region=os.environ.get("AWS_REGION"), endpoint_url=os.environ.get("AWS_ENDPOINT_URL")
        )
        service = os.environ.get("POWERTOOLS_SERVICE_NAME", "memolist-tts")
        return EventBus(self.settings.EVENT_BUS_NAME, client, service=service)

    def forget(self) -> None:
        """Drop what secrets opened: the next run reads them again, and a rotated one serves."""
        from aws_lambda_powertools.utilities import parameters

        parameters.clear_caches()  # type: ignore[no-untyped-call]
        if "database" in self.__dict__:
            self.database.close()
        kept = {each.name for each in fields(self)} | {"storage", "wake", "bus"}
        for name in self.__dict__.keys() - kept:
            del self.__dict__[name]

    @cached_property
    def storage(self) -> Storage:
        settings = self.settings
        if settings.STORAGE_TYPE == "local":
            from memolist_tts.storage.folder import FolderStorage, folder_public_base_url

            root = settings.LOCAL_STORAGE_PATH.resolve()
            return FolderStorage(root, settings.PUBLIC_BASE_URL or folder_public_base_url(root))
        from memolist_tts.storage.s3 import S3Storage, s3_client, s3_public_base_url

        client_for = partial(
            s3_client,
            region=os.environ.get("AWS_REGION"),
            endpoint_url=os.environ.get("AWS_ENDPOINT_URL"),
        )
        client = client_for(max_in_flight=settings.MAX_IN_FLIGHT)
        probe = client_for(max_in_flight=1, is_probe=True)
        bucket = settings.AWS_S3_BUCKET or ""
        base = settings.PUBLIC_BASE_URL or s3_public_base_url(bucket, client.meta.region_name)
        return S3Storage(bucket, base, client, probe=probe)

    @cached_property
    def client(self) -> openai.OpenAI:
        from memolist_tts.speech.client import open_client

        client = open_client(
            api_key(self.settings),
            base_url=self.settings.OPENAI_BASE_URL,
            max_in_flight=self.settings.MAX_IN_FLIGHT,
        )
        memory.settle()
        return client

    def way(self) -> Way:
        """How to speak; one way for a whole run, whatever the server or the clock says meanwhile.

        A server that isn't OpenAI is asked what it offers; see `route.choose`.
        """
        if self._way_of is None:
            self._way_of = (today(), choose(self.settings, today(), self._offers))
        return self._way_of[1]

    def _renew_way(self) -> None:
        """A warm worker's way may have changed: a model is closed, or the server answers again."""
        if self._way_of is not None and (self._way_of[0] != today() or not self._way_of[1].is_sure):
            self._way_of = None

    def _offers(self, name: str) -> bool | None:
        return offers(self.client, name)

    @cached_property
    def identity(self) -> str:
        return identity(self.settings)

    def request(self, text: str, voice: Voice) -> SpeechRequest:
        """What today's route sends for `text`; see `Script.request`."""
        chosen, whose = self.way().route, self.identity
        if chosen == "chat":
            return requests.chat(text, voice, identity=whose)
        if chosen == "realtime":
            return requests.realtime(text, voice, identity=whose)
        instruct_any = bool(self.settings.own_instructions)
        return requests.endpoint(text, voice, identity=whose, instruct_any=instruct_any)

    @cached_property
    def speakers(self) -> dict[str, Speaker]:
        return {}

    def speaker(self) -> Speaker:
        """Today's route."""
        chosen = self.way().route
        if chosen not in self.speakers:
            self.speakers[chosen] = self._speaker(chosen)
        return self.speakers[chosen]

    def _speaker(self, chosen: str) -> Speaker:
        if chosen == "chat":
            from memolist_tts.speech.chat import ChatSpeaker

            return ChatSpeaker(self.client)
        if chosen == "realtime":
            from memolist_tts.speech.realtime import RealtimeSpeaker

            return RealtimeSpeaker(self.client)
        from memolist_tts.speech.endpoint import EndpointSpeaker

        return EndpointSpeaker(self.client)

    def ending(self, told: Mapping[str, Any] | None = None) -> Ending | None:
        """When the model that speaks now is closed; None where nobody has said so.

        `told` is what the provider has just said of the model, where it was asked
        (`told_of`). Else it is asked once a day at most, if a client was made for it.
        """
        day, name = today(), self.way().model
        if told is not None:
            closes = end_of(name, told, is_openai=self.settings.is_openai)
        elif "client" not in self.__dict__:
            closes = announced_end(name, is_openai=self.settings.is_openai)
        else:
            if (day, name) not in self._ends:
                self._ends[day, name] = shutdown_date(self.client, name)
            closes = self._ends[day, name]
        if closes is None:
            return None
        return Ending(name, (closes - day).days, move(self.settings, self.way()))

    @cached_property
    def pace(self) -> SharedPace:
        model = known(self.way().model)
        published = model.requests_per_minute if model else None
        return SharedPace(
            self.database,
            requests_per_minute=self.settings.REQUESTS_PER_MINUTE,
            opening_per_minute=published or OPENING_PER_MINUTE,
        )

    def ports(self) -> Ports:
        return Ports(
            jobs=self.jobs,
            clips=self.clips,
            pace=self.pace,
            ledger=self.ledger,
            script=self.script,
            speaker=self.speaker,
            storage=self.storage,
            wake=self.wake,
            clock=clock,
        )

    def voice(self, language: str, options: Options) -> Voice:
        """The deployment's voice of a language, a job's options applied.

        Raises `BadOptions` for options that surely can't be spoken.
        """
        way = self.way()
        plain = self.settings.voice(language, options.model or way.model)
        asked = options.voice
        name = asked if isinstance(asked, str) else (asked or {}).get(language)
        voice = replace(plain, name=name or plain.name, speed=options.speed or plain.speed)
        if wrong := option_fault(voice, way.route, is_openai=self.settings.is_openai):
            raise BadOptions(wrong)
        return voice

    def run(
        self,
        job_id: str,
        *,
        seconds: float,
        halt: threading.Event,
        lease_s: float | None = None,
        least_turn_s: float = 0.0,
    ) -> Report:
        """`run_chunk` under this deployment's rules, over within `seconds`."""
        self._renew_way()
        rules = self.rules(lease_s, least_turn_s)
        return run_chunk(job_id, clock() + seconds, self.ports(), rules, halt)

    def canary(
        self,
        *,
        seconds: float,
        halt: threading.Event,
        tell: Callable[[int, int], None] = lambda *_: None,
    ) -> canary.Run:
        """`run_canary` with this deployment's voices, over within `seconds`."""
        self._renew_way()
        book, pace = self.canaries, self.pace
        ports = canary.Ports(
            book=book,
            pace=pace,
            # A job's budget is no bound of it: its money is summed over all its runs.
            ledger=SpendBook(
                self.database, job_budget_usd=None, day_budget_usd=self.settings.DAILY_BUDGET_USD
            ),
            script=lambda: self.script(Options(), self.cards.lexicon()),
            speaker=self.speaker,
            clock=clock,
            in_flight=self.settings.MAX_IN_FLIGHT,
            flush_s=self.settings.FLUSH_SECONDS,
        )
        languages = [each.code for each in self.settings.LANGUAGES]
        return canary.run_canary(languages, ports, seconds=seconds, halt=halt, tell=tell)

    def rules(self, lease_s: float | None = None, least_turn_s: float = 0.0) -> Rules:
        return Rules(
            in_flight=self.settings.MAX_IN_FLIGHT,
            flush_s=self.settings.FLUSH_SECONDS,
            max_phrases=self.settings.MAX_PHRASES_PER_JOB,
            lease_s=lease_s,
            least_turn_s=least_turn_s,
        )

    def script(self, options: Options, words: Mapping[str, Mapping[str, str]]) -> Script:
        """How phrases become requests under a job's options, with these words of the lexicon."""
        return Script(
            options=options,
            voice=cache(lambda language: self.voice(language, options)),
            request=self.request,
            owns=lambda url: self.storage.owns(url),
            lexicon=Lexicon(words),
        )


def today() -> date:
    return datetime.now(UTC).date()


def database_url(settings: Settings) -> str:
    """DATABASE_URL by value or by secret. Raises `MemolistError` when it can't be had."""
    if settings.DATABASE_URL:
        return settings.DATABASE_URL.get_secret_value()
    return _secret(settings.DATABASE_URL_SECRET_ARN or "", "DATABASE_URL")


def api_key(settings: Settings) -> str:
    """OPENAI_API_KEY by value or by secret; a compatible server of one's own needs none."""
    if settings.OPENAI_API_KEY:
        return settings.OPENAI_API_KEY.get_secret_value()
    if settings.OPENAI_API_KEY_SECRET_ARN:
        try:
            return _secret(settings.OPENAI_API_KEY_SECRET_ARN, "OPENAI_API_KEY")
        except MemolistError as error:
            raise KeyRefused(str(error)) from error
    return "none"


def _secret(arn: str, name: str) -> str:
    from aws_lambda_powertools.utilities import parameters
    from botocore.exceptions import BotoCoreError

    try:
        return str(parameters.get_secret(arn, max_age=300))
    except (parameters.exceptions.GetParameterError, BotoCoreError) as error:
        raise MemolistError(f"{name}_SECRET_ARN {arn}: can't be read: {error}") from error
