"""Every variable, once. Blank means unset; all faults are listed at once; secrets have no repr."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from enum import Flag, auto
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from memolist_tts import route
from memolist_tts.core.errors import MemolistError
from memolist_tts.core.model import Language, Voice
from memolist_tts.instructions import instructions
from memolist_tts.speech.models import is_openai_host, price

OPENAI_BASE_URL = "https://api.openai.com/v1"
DEFAULT_LANGUAGES = "en:textEn:audioEnUrl,fr:textFr:audioFrUrl"
DEFAULT_VOICE = "alloy"
_FAMILIES = {"voices": "VOICE_", "own_instructions": "INSTRUCTIONS_"}
"""Variables with one of a language each."""


class SettingsError(MemolistError):
    """Variables are missing or wrong; the text lists each with its fix."""


class Needs(Flag):
    """What a command is going to use, so that it asks only for that."""

    DATABASE = auto()
    SPEECH = auto()
    STORAGE = auto()
    QUEUE = auto()
    WORKER = DATABASE | SPEECH | STORAGE


def _languages(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(_language(entry) for entry in value.split(",") if entry.strip())


def _language(entry: str) -> Language:
    parts = [part.strip() for part in entry.split(":")]
    if len(parts) != 3 or not all(parts):
        raise ValueError(
            f"{entry.strip()!r} isn't code:textColumn:urlColumn, as {DEFAULT_LANGUAGES}"
        )
    return Language(code=parts[0].lower(), text_column=parts[1], url_column=parts[2])


def _distinct(languages: tuple[Language, ...]) -> tuple[Language, ...]:
    if not languages:
        raise ValueError(f"names no language; the default is {DEFAULT_LANGUAGES}")
    for field in ("code", "text_column", "url_column"):
        values = [getattr(language, field) for language in languages]
        if len(set(values)) < len(values):
            raise ValueError(f"has the same {field.replace('_', ' ')} twice: {', '.join(values)}")
    return languages


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    try:
        parts = urlsplit(value)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host:
        raise ValueError("must be a URL with a host, such as https://api.example.com/v1")
    return value.rstrip("/")


def _queue_url(value: str) -> str:
    url = _http_url(value)
    if "@" in url or "?" in url:
        raise ValueError(
            "must be the queue's plain URL: AWS credentials have variables of their own"
        )
    return url


def _bucket(value: str) -> str:
    if re.search(r"[/:\s]", value):
        raise ValueError("must be a bucket's plain name, without s3:// and without a folder")
    return value


def _public_url(value: str) -> str:
    if "://" not in value or "?" in value or "#" in value:
        raise ValueError("must be a URL without ? and #, such as https://cdn.example.com/audio")
    return value.rstrip("/")


class Settings(BaseModel):
    """The old worker's variables keep their names and defaults; the fields are the variables."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    DATABASE_URL: SecretStr | None = None
    DATABASE_URL_SECRET_ARN: str | None = None
    OPENAI_API_KEY: SecretStr | None = None
    OPENAI_API_KEY_SECRET_ARN: str | None = None
    OPENAI_BASE_URL: Annotated[str, AfterValidator(_http_url)] = OPENAI_BASE_URL

    STORAGE_TYPE: Annotated[Literal["local", "s3"], BeforeValidator(str.lower)] = "local"
    LOCAL_STORAGE_PATH: Path = Path("audio")
    AWS_S3_BUCKET: Annotated[str, AfterValidator(_bucket)] | None = None
    PUBLIC_BASE_URL: Annotated[str, AfterValidator(_public_url)] | None = None
    QUEUE_URL: Annotated[str, AfterValidator(_queue_url)] | None = None
    EVENT_BUS_NAME: str | None = None

    TTS_PROVIDER: Annotated[
        Literal["auto", "endpoint", "chat", "realtime"], BeforeValidator(str.lower)
    ] = "auto"
    """auto: what outlives OpenAI's speech endpoint; see `route.choose`."""
    TTS_MODEL: str | None = None
    TTS_SPEED: float = Field(default=1.0, ge=0.25, le=4.0)
    LANGUAGES: Annotated[
        tuple[Language, ...], BeforeValidator(_languages), AfterValidator(_distinct)
    ] = Field(default=DEFAULT_LANGUAGES, validate_default=True)
    voices: dict[str, str] = {}
    """Language code to voice, from VOICE_EN, VOICE_FR, and so on for each language."""
    own_instructions: dict[str, str] = {}
    """Language code to instructions, from INSTRUCTIONS_EN, and so on; the defaults aside."""

    POLL_INTERVAL_MS: int = Field(default=5000, ge=50, le=3_600_000)
    MAX_IN_FLIGHT: int = Field(default=32, ge=1, le=512)
    REQUESTS_PER_MINUTE: float | None = Field(default=None, gt=0, le=1_000_000)
    JOB_BUDGET_USD: float | None = Field(default=None, gt=0, le=1_000_000)
    DAILY_BUDGET_USD: float | None = Field(default=None, gt=0, le=1_000_000)
    """What all workers may spend in a day (UTC), at list prices."""
    MAX_PHRASES_PER_JOB: int = Field(default=200, ge=1, le=1_000_000)
    MAX_ATTEMPTS: int = Field(default=3, ge=1, le=1000)
    FLUSH_SECONDS: float = Field(default=1.0, gt=0, le=10)
    CHUNK_SECONDS: float = Field(default=240.0, ge=5, le=86_400)
    """How long `poll` speaks one job before it looks at the others again."""
    LEASE_SECONDS: float = Field(default=20.0, ge=3, le=3600)
    """How long a `poll` worker may stay silent before another takes its job."""

    @classmethod
    def load(cls, needs: Needs, environ: Mapping[str, str] = os.environ) -> Self:
        """Read and check the variables. Raises `SettingsError` listing every fault."""
        given: dict[str, object] = {k: v.strip() for k, v in environ.items() if v.strip()}
        for field, prefix in _FAMILIES.items():
            given[field] = _per_language(given, prefix)
        faults = _undecodable(given)
        try:
            settings = cls.model_validate(given)
            faults += settings._contradictions()
            if Needs.SPEECH in needs and not faults:
                faults += route.faults(settings, datetime.now(UTC).date())
        except ValidationError as error:
            faults += [_sentence(fault["loc"], fault["msg"]) for fault in error.errors()]
            wrong = {fault["loc"][0] for fault in error.errors()}
            settings = cls.model_construct(**_raw(given, wrong))
        faults += settings._missing(needs)
        if faults:
            raise SettingsError("Settings:\n" + "\n".join(f"  - {fault}" for fault in faults))
        return settings

    def _contradictions(self) -> list[str]:
        faults = []
        if self.LEASE_SECONDS < 3 * self.FLUSH_SECONDS:
            faults.append("LEASE_SECONDS must be at least 3 x FLUSH_SECONDS, which renews it")
        return faults

    def _missing(self, needs: Needs) -> list[str]:
        faults = []
        if Needs.DATABASE in needs and not (self.DATABASE_URL or self.DATABASE_URL_SECRET_ARN):
            faults.append(
                "DATABASE_URL is not set: postgresql://user:password@host:5432/database?schema=public"
            )
        # A compatible server of one's own may take no key; OpenAI always does.
        if Needs.SPEECH in needs and self.is_openai and not self._has_key:
            faults.append("OPENAI_API_KEY is not set: the key of the OpenAI project, sk-…")
        if Needs.STORAGE in needs and self.STORAGE_TYPE == "s3" and not self.AWS_S3_BUCKET:
            faults.append("AWS_S3_BUCKET is not set, and STORAGE_TYPE is s3: the bucket's name")
        if Needs.QUEUE in needs and not self.QUEUE_URL:
            faults.append("QUEUE_URL is not set: the URL of the SQS queue (the stack's output)")
        return faults

    @property
    def _has_key(self) -> bool:
        return bool(self.OPENAI_API_KEY or self.OPENAI_API_KEY_SECRET_ARN)

    @property
    def is_openai(self) -> bool:
        """Whether speech comes from OpenAI itself."""
        return is_openai_host(urlsplit(self.OPENAI_BASE_URL).hostname or "")

    def voice(self, language: str, model: str) -> Voice:
        """How this deployment speaks `language` with `model`."""
        return Voice(
            language=language,
            model=model,
            name=self.voices.get(language, DEFAULT_VOICE),
            instructions=self.own_instructions.get(language) or instructions(language),
            speed=self.TTS_SPEED,
            price=price(model),
        )


def _undecodable(given: Mapping[str, object]) -> list[str]:
    """Python passes bytes that aren't UTF-8 on as lone surrogates, which nothing can send."""
    ours = (
        k for k in given if k in Settings.model_fields or k.startswith(tuple(_FAMILIES.values()))
    )
    return [
        f"{name}: holds bytes that aren't UTF-8"
        for name in ours
        if any("\ud800" <= char <= "\udfff" for char in str(given[name]))
    ]


def _per_language(given: Mapping[str, object], prefix: str) -> dict[str, str]:
    return {k[len(prefix) :].lower(): str(v) for k, v in given.items() if k.startswith(prefix)}


def _raw(given: Mapping[str, object], wrong: Container[object]) -> dict[str, Any]:
    """What to look for gaps in: a wrong value is none, unless that would look like a gap."""
    return {
        name: given[name]
        for name, field in Settings.model_fields.items()
        if name in given and (field.default is None or name not in wrong)
    }


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0])
    return f"{name}: {message.removeprefix('Value error, ')}"
