"""The worker's variables: what is read, what is refused, what is never shown."""

from __future__ import annotations

from hashlib import sha256
from string import ascii_lowercase

import pytest

from memolist_tts.core.model import Language
from memolist_tts.settings import Needs, Settings, SettingsError

ENOUGH = {"DATABASE_URL": "postgresql://u:pass-word@h/d", "OPENAI_API_KEY": "sk-secret"}
ENGLISH = Language(code="en", text_column="textEn", url_column="audioEnUrl")
FRENCH = Language(code="fr", text_column="textFr", url_column="audioFrUrl")


def load(needs: Needs = Needs.WORKER, **environ: str) -> Settings:
    return Settings.load(needs, environ=ENOUGH | environ)


def faults(needs: Needs = Needs.WORKER, **environ: str) -> list[str]:
    """The lines of the message, by what each begins with."""
    with pytest.raises(SettingsError) as caught:
        load(needs, **environ)
    head, *lines = str(caught.value).splitlines()
    assert head == "Settings:"
    return [line.removeprefix("  - ").replace(":", " ").split()[0] for line in lines]


def test_a_database_and_a_key_are_enough() -> None:
    settings = load()

    assert settings.STORAGE_TYPE == "local"
    assert str(settings.LOCAL_STORAGE_PATH) == "audio"
    assert (settings.POLL_INTERVAL_MS, settings.TTS_PROVIDER) == (5000, "auto")
    assert settings.LANGUAGES == (ENGLISH, FRENCH)
    assert settings.is_openai


def test_all_faults_are_listed_at_once() -> None:
    found = faults(
        DATABASE_URL="",
        OPENAI_API_KEY=" ",
        STORAGE_TYPE="s3",
        LANGUAGES="en",
        TTS_SPEED="9",
        MAX_IN_FLIGHT="many",
    )

    assert found == [
        "TTS_SPEED",
        "LANGUAGES",
        "MAX_IN_FLIGHT",
        "DATABASE_URL",
        "OPENAI_API_KEY",
        "AWS_S3_BUCKET",
    ]


def test_a_blank_variable_counts_as_unset() -> None:
    settings = load(TTS_MODEL="  ", POLL_INTERVAL_MS="", PUBLIC_BASE_URL=" ", LANGUAGES="")

    assert settings == load()


def test_values_are_taken_without_the_blanks_around_them() -> None:
    assert load(TTS_MODEL=" tts-1 ", STORAGE_TYPE=" LOCAL ").TTS_MODEL == "tts-1"


def test_secrets_are_not_shown() -> None:
    shown = repr(load()) + str(load())

    assert "sk-secret" not in shown
    assert "pass-word" not in shown


def test_a_fault_does_not_show_the_secrets_beside_it() -> None:
    with pytest.raises(SettingsError) as caught:
        load(TTS_SPEED="9")

    assert "sk-secret" not in str(caught.value)
    assert "pass-word" not in str(caught.value)


def test_a_command_asks_only_for_what_it_uses() -> None:
    nothing = {"DATABASE_URL": "", "OPENAI_API_KEY": "", "STORAGE_TYPE": "s3"}

    assert faults(Needs.DATABASE, **nothing) == ["DATABASE_URL"]
    assert faults(Needs.QUEUE, **nothing) == ["QUEUE_URL"]
    assert faults(Needs.SPEECH, **nothing) == ["OPENAI_API_KEY"]
    assert faults(Needs.STORAGE, **nothing) == ["AWS_S3_BUCKET"]


def test_a_secret_s_arn_stands_for_its_value() -> None:
    settings = load(
        DATABASE_URL="",
        OPENAI_API_KEY="",
        DATABASE_URL_SECRET_ARN="arn:aws:secretsmanager:1",
        OPENAI_API_KEY_SECRET_ARN="arn:aws:secretsmanager:2",
    )

    assert settings.DATABASE_URL is None


def test_a_compatible_server_needs_no_key() -> None:
    settings = load(OPENAI_API_KEY="", OPENAI_BASE_URL="http://127.0.0.1:8000/v1/")

    assert settings.OPENAI_BASE_URL == "http://127.0.0.1:8000/v1"
    assert not settings.is_openai


def test_languages_are_read_in_order_and_any_number_of_them() -> None:
    german = Language(code="de", text_column="textDe", url_column="urlDe")

    settings = load(LANGUAGES="DE : textDe:urlDe, en:textEn:audioEnUrl,")

    assert list(settings.LANGUAGES) == [german, ENGLISH]


@pytest.mark.parametrize(
    "languages",
    [",", "en", "en:textEn", "en::audioEnUrl", "en:a:b:c", "en:a:b,en:c:d", "en:a:b,fr:a:c",
     "en:a:b,fr:c:b"],
)  # fmt: skip
def test_languages_that_can_not_be_told_apart_or_read_are_refused(languages: str) -> None:
    assert faults(LANGUAGES=languages) == ["LANGUAGES"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", "api.example.com"),
        ("PUBLIC_BASE_URL", "cdn.example.com"),
        ("QUEUE_URL", "queue"),
        ("STORAGE_TYPE", "disk"),
        ("TTS_PROVIDER", "siri"),
        ("TTS_SPEED", "0.2"),
        ("POLL_INTERVAL_MS", "0"),
        ("MAX_IN_FLIGHT", "0"),
        ("MAX_IN_FLIGHT", "513"),
        ("REQUESTS_PER_MINUTE", "0"),
        ("MAX_PHRASES_PER_JOB", "0"),
        ("MAX_ATTEMPTS", "0"),
        ("FLUSH_SECONDS", "0"),
        ("CHUNK_SECONDS", "1"),
        ("LEASE_SECONDS", "1"),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: str) -> None:
    assert faults(Needs.WORKER, **{name: value}) == [name]


def test_every_language_has_its_own_voice_and_instructions() -> None:
    settings = load(VOICE_FR="nova", INSTRUCTIONS_FR="Parle lentement.", TTS_SPEED="0.8")

    french, english = settings.voice("fr", "m"), settings.voice("en", "m")
    assert (french.name, french.instructions) == ("nova", "Parle lentement.")
    assert english.name == "alloy"
    assert english.instructions is not None
    assert "English" in english.instructions
    assert (french.speed, french.model) == (0.8, "m")


NATIVE = "clearly and naturally, like a native speaker."
DIGEST = "ea5db9ded6bf6344ae17951616f0a9a5a663ebce30788853bb5f34f56492ab78"


@pytest.mark.parametrize(
    ("code", "instructions"),
    [
        ("en", f"Read this aloud in English, {NATIVE}"),
        ("fr", "Lis ceci en français, clairement et naturellement, comme un locuteur natif."),
        ("de", f"Read this aloud in German, {NATIVE}"),
        ("zh", f"Read this aloud in Chinese, {NATIVE}"),
        ("pt-br", f'Read this aloud in Portuguese ("pt-br"), {NATIVE}'),
        ("zz", f'Read this aloud in the language with the code "zz", {NATIVE}'),
    ],
)
def test_every_language_is_asked_for_by_name_in_words_that_never_move(
    code: str, instructions: str
) -> None:
    settings = load(LANGUAGES=f"{code}:text:url")

    assert settings.voice(settings.LANGUAGES[0].code, "m").instructions == instructions


def test_the_names_of_all_languages_have_not_moved() -> None:
    asked = "\n".join(
        settings.voice(f"{first}{second}", "m").instructions or ""
        for settings in [load()]
        for first in ascii_lowercase
        for second in ascii_lowercase
    )

    assert asked.count("with the code") == 26 * 26 - 183
    assert sha256(asked.encode()).hexdigest() == DIGEST
