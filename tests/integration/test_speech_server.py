"""The local speech server as a client of OpenAI meets it."""

from __future__ import annotations

import base64
import itertools
import json
import math
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import miniaudio  # type: ignore[import-untyped,unused-ignore]
import openai
import pytest
from openai.resources.realtime.realtime import RealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosed, InvalidStatus

from local.speech import SpeechServer
from local.speech.bucket import go_duration
from local.speech.language import guess
from local.speech.refusals import REFUSALS

ROOT = Path(__file__).resolve().parents[2]
MINI, TTS_1 = "gpt-4o-mini-tts", "tts-1"
GPT_AUDIO, REALTIME = "gpt-audio-1.5", "gpt-realtime-2.1-mini"
SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
BOUNDS = ("response.created", "response.done")
LINE = "a sentence of some length"
FRAME_BYTES = {MINI: 384, TTS_1: 480}
IN_FRENCH = "Lis ceci en français, comme un locuteur natif."
IN_ENGLISH = "Read this in English, like a native speaker."


def client_of(server: SpeechServer, api_key: str = "any", **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key=api_key, max_retries=0, **options)


@pytest.fixture
def client(speech_server: SpeechServer) -> Iterator[openai.OpenAI]:
    with client_of(speech_server) as client:
        yield client


def ask(client: openai.OpenAI, text: str = "Good morning", **changes: Any) -> Any:
    """The raw answer to one request for speech."""
    body: dict[str, Any] = {"model": MINI, "voice": "alloy", "input": text, **changes}
    return client.audio.speech.with_raw_response.create(**body)


def control(server: SpeechServer, method: str, path: str, body: Any = None) -> httpx2.Response:
    return httpx2.request(method, server.root_url + path, json=body)


def pcm_of(clip: bytes) -> array[int]:
    """Samples at 24 kHz, of MP3 or WAV."""
    samples: array[int] = miniaudio.decode(clip, nchannels=1, sample_rate=24_000).samples
    return samples


def seconds(clip: bytes) -> float:
    return len(pcm_of(clip)) / 24_000


def levels_db(samples: array[int]) -> list[float]:
    """dBFS of each 20 ms."""
    windows = (samples[at : at + 480] for at in range(0, len(samples) - 479, 480))
    powers = (sum(sample * sample for sample in window) / 480 for window in windows)
    return [10 * math.log10(max(power, 1e-3) / 2**30) for power in powers]


def pitch_hz(samples: array[int]) -> float:
    """The fundamental of the loudest 20 ms, by autocorrelation."""
    levels = levels_db(samples)
    middle = levels.index(max(levels)) * 480
    piece = samples[middle : middle + 1200]

    def alike(lag: int) -> float:
        return sum(a * b for a, b in zip(piece, piece[lag:], strict=False)) / (len(piece) - lag)

    return 24_000 / max(range(60, 320), key=alike)


# Sound answers


@pytest.mark.parametrize(("model", "first_bytes"), [(MINI, "fff3c4c4"), (TTS_1, "fff3e4c4")])
def test_a_clip_is_mp3_of_the_models_own_format_without_tags(
    client: openai.OpenAI, model: str, first_bytes: str
) -> None:
    clip = ask(client, model=model).content
    info = miniaudio.mp3_get_info(clip)
    assert clip[:4].hex() == first_bytes
    assert len(clip) % FRAME_BYTES[model] == 0
    assert b"Xing" not in clip
    assert b"Info" not in clip
    assert (info.nchannels, info.sample_rate) == (1, 24_000)
    assert seconds(clip) == pytest.approx(len(clip) / FRAME_BYTES[model] * 0.024, abs=0.06)


def test_an_answer_carries_openais_headers(client: openai.OpenAI) -> None:
    headers = ask(client).headers
    assert headers["content-type"] == "audio/mpeg"
    assert headers["transfer-encoding"] == "chunked"
    assert headers["x-request-id"].startswith("req_")
    assert headers["openai-processing-ms"].isdigit()


def test_one_word_of_two_languages_differs_in_sound_and_length(client: openai.OpenAI) -> None:
    english = pcm_of(ask(client, "chat", instructions=IN_ENGLISH).content)
    french = pcm_of(ask(client, "chat", instructions=IN_FRENCH).content)
    apart = [abs(a - b) for a, b in zip(levels_db(english), levels_db(french), strict=False)]
    assert abs(len(english) - len(french)) > 0.05 * 24_000
    assert sum(apart) / len(apart) > 6


def test_without_instructions_the_text_decides_the_language(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    for text in ("Où est la gare ?", "Where is the station?", "chat"):
        ask(client, text)
    assert [charge.language for charge in speech_server.charges] == ["fr", "en", "en"]


def test_voices_differ_in_pitch(client: openai.OpenAI) -> None:
    pitches = [
        pitch_hz(pcm_of(ask(client, "arm", voice=voice).content))
        for voice in ("onyx", "alloy", "shimmer")
    ]
    assert pitches == sorted(set(pitches))


def test_speed_changes_the_length(client: openai.OpenAI) -> None:
    slow, plain, fast = (
        seconds(ask(client, "The quick brown fox jumps.", speed=speed).content)
        for speed in (0.5, 1.0, 2.0)
    )
    assert slow > 1.4 * plain > 1.4 * 1.3 * fast


def test_takes_of_a_text_differ_in_bytes_and_are_numbered(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    takes = {ask(client).content for _ in range(40)}
    assert len(takes) == 40
    assert [charge.take for charge in speech_server.charges] == list(range(1, 41))


def test_wav_and_pcm_hold_the_same_sound_as_the_mp3(client: openai.OpenAI) -> None:
    plain = ask(client, response_format="pcm").content
    packed = ask(client, response_format="wav").content
    assert pcm_of(packed).tobytes() == plain
    assert len(plain) / 48_000 == pytest.approx(seconds(ask(client).content), abs=0.1)


def test_64_requests_are_held_at_once(speech_server: SpeechServer) -> None:
    speech_server.add_fault("hold")
    limits = httpx2.Limits(max_connections=64)
    http_client = openai.DefaultHttpx2Client(limits=limits)
    with (
        client_of(speech_server, http_client=http_client) as client,
        ThreadPoolExecutor(64) as pool,
    ):
        calls = [pool.submit(ask, client, "one") for _ in range(64)]
        were_there = speech_server.wait_for_in_flight(64, timeout_s=30)
        speech_server.clear_faults()
        clips = {call.result().content for call in calls}
    assert were_there
    assert len(clips) == 64


def test_espeak_speaks_where_pico_has_no_voice() -> None:
    pytest.importorskip("espeakng_loader")
    from local.speech.engines import Espeak

    engine = Espeak()
    english, french = (engine.say("chat", tongue, 1.0, 1.0) for tongue in ("en", "fr"))
    assert english != french
    assert min(len(english), len(french)) > 48_000 * 0.2
    assert engine.speaks("nl")


# Refusals of its own


@pytest.mark.parametrize(
    ("changes", "error", "code", "words"),
    [
        ({"voice": "bob"}, openai.BadRequestError, None, "('body', 'voice')"),
        ({"voice": "cedar", "model": TTS_1}, openai.BadRequestError, None, "('body', 'voice')"),
        ({"model": "tts-9"}, openai.NotFoundError, "model_not_found", "`tts-9` does not exist"),
        ({"model": GPT_AUDIO}, openai.NotFoundError, "model_not_found", "does not exist"),
        ({"input": "a" * 4097}, openai.BadRequestError, None, "at most 4096 characters"),
        ({"input": ""}, openai.BadRequestError, None, "at least 1 character"),
        ({"input": "🙂"}, openai.BadRequestError, "invalid_value", "finds nothing to speak"),
        ({"input": "?!"}, openai.BadRequestError, "invalid_value", "finds nothing to speak"),
        ({"speed": 4.5}, openai.BadRequestError, None, "less than or equal to 4"),
        ({"response_format": "ogg"}, openai.BadRequestError, None, "('body', 'response_format')"),
        ({"extra_body": {"seed": 1}}, openai.BadRequestError, None, "Extra inputs"),
        (
            {"model": TTS_1, "instructions": IN_FRENCH},
            openai.BadRequestError,
            "invalid_value",
            "does not support instructions",
        ),
    ],
)
def test_a_bad_request_is_refused_in_openais_shape_and_not_charged(
    speech_server: SpeechServer,
    client: openai.OpenAI,
    changes: dict[str, Any],
    error: type[openai.APIStatusError],
    code: str | None,
    words: str,
) -> None:
    with pytest.raises(error) as refused:
        ask(client, **changes)
    assert isinstance(refused.value.body, dict)
    assert refused.value.body.keys() == {"message", "type", "param", "code"}
    assert refused.value.body["type"] == "invalid_request_error"
    assert words in refused.value.body["message"]
    assert refused.value.code == code
    assert refused.value.request_id
    assert speech_server.charges == []


def test_a_body_that_is_no_json_is_refused(speech_server: SpeechServer) -> None:
    url = f"{speech_server.base_url}/audio/speech"
    answer = httpx2.post(url, content=b"{", headers={"Authorization": "Bearer any"})
    assert answer.status_code == 400
    assert "could not parse the JSON body" in answer.json()["error"]["message"]


def test_a_missing_key_is_refused(speech_server: SpeechServer) -> None:
    answer = httpx2.post(f"{speech_server.base_url}/audio/speech", json={})
    assert answer.status_code == 401
    assert "didn't provide an API key" in answer.json()["error"]["message"]


def test_only_the_given_key_is_accepted() -> None:
    with SpeechServer(api_key="right") as server:
        with pytest.raises(openai.AuthenticationError) as refused:
            ask(client_of(server, "wrong"))
        assert refused.value.code == "invalid_api_key"
        assert ask(client_of(server, "right")).content


def test_an_unknown_address_is_a_404_in_openais_shape(speech_server: SpeechServer) -> None:
    url = f"{speech_server.base_url}/audio/speeches"
    answer = httpx2.post(url, headers={"Authorization": "Bearer any"})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "Invalid URL (POST /v1/audio/speeches)"


# Pace


class Clock:
    """Seconds that pass when told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_headers_tell_the_state_of_a_continuous_bucket() -> None:
    clock = Clock()
    with SpeechServer(requests_per_minute=60, tokens_per_minute=6000, clock=clock) as server:
        client = client_of(server)

        def shown(text: str) -> list[str]:
            headers = ask(client, text).headers
            return [
                headers[f"x-ratelimit-{what}-{kind}"]
                for kind in ("requests", "tokens")
                for what in ("limit", "remaining", "reset")
            ]

        assert shown("four") == ["60", "59", "1s", "6000", "5999", "10ms"]
        assert shown("sixteen letters!") == ["60", "58", "2s", "6000", "5995", "50ms"]
        clock.now_s += 0.5
        assert shown("four") == ["60", "57", "2.5s", "6000", "5999", "10ms"]
        clock.now_s += 60
        assert shown("four") == ["60", "59", "1s", "6000", "5999", "10ms"]


def test_an_empty_bucket_refuses_until_the_announced_moment() -> None:
    clock = Clock()
    with SpeechServer(requests_per_minute=2, clock=clock) as server:
        client = client_of(server)
        ask(client)
        ask(client)
        with pytest.raises(openai.RateLimitError) as refused:
            ask(client)
        headers = refused.value.response.headers
        assert (headers["retry-after"], headers["retry-after-ms"]) == ("30", "30000")
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert headers["x-ratelimit-reset-requests"] == "1m0s"
        assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
        clock.now_s += 30
        assert ask(client).content
        assert len(server.charges) == 3


@pytest.mark.parametrize(("refusals_count", "gets_through"), [(True, False), (False, True)])
def test_refused_attempts_use_up_the_limit_unless_set_otherwise(
    refusals_count: bool, gets_through: bool
) -> None:
    clock = Clock()
    with SpeechServer(requests_per_minute=1, clock=clock, refusals_count=refusals_count) as server:
        client = client_of(server)
        ask(client)
        for clock.now_s in (40.0, 80.0):
            try:
                ask(client)
            except openai.RateLimitError:
                continue
        assert (len(server.charges) == 2) is gets_through


def test_tokens_run_out_on_their_own() -> None:
    with SpeechServer(tokens_per_minute=10, clock=Clock()) as server:
        client = client_of(server)
        ask(client, "thirty-two characters, to a dot.")
        with pytest.raises(openai.RateLimitError) as refused:
            ask(client, "thirty-two characters, to a dot.")
        assert refused.value.type == "tokens"
        assert refused.value.response.headers["retry-after-ms"] == "36000"


def test_each_model_has_buckets_and_limits_of_its_own(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    control(speech_server, "PUT", "/_limits", {"requests_per_minute": 50})
    control(speech_server, "PUT", "/_limits", {"requests_per_minute": 3, "model": TTS_1})
    ask(client)
    shown = [
        ask(client, model=model).headers["x-ratelimit-remaining-requests"]
        for model in (MINI, TTS_1)
    ]
    assert shown == ["48", "2"]


@pytest.mark.parametrize(
    ("duration_s", "shown"),
    [
        (0, "0s"),
        (0.12, "120ms"),
        (0.9999, "1s"),
        (7.66, "7.66s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (5011, "1h23m31s"),
    ],
)
def test_durations_are_gos(duration_s: float, shown: str) -> None:
    assert go_duration(duration_s) == shown


# Faults on demand


@pytest.mark.parametrize("name", REFUSALS)
def test_each_refusal_on_demand_arrives_as_it_is_and_costs_nothing(
    speech_server: SpeechServer, client: openai.OpenAI, name: str
) -> None:
    speech_server.add_fault(name)
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client)
    wanted = REFUSALS[name]
    assert refused.value.status_code == wanted.status
    if wanted.detail is None:
        assert refused.value.body == wanted.error
    else:
        assert refused.value.body == {"detail": wanted.detail}
    assert refused.value.response.headers.items() >= wanted.headers.items()
    assert speech_server.charges == []
    assert [(seen.status, seen.fault) for seen in speech_server.requests] == [(wanted.status, name)]


def test_a_refusal_can_be_altered(speech_server: SpeechServer, client: openai.OpenAI) -> None:
    speech_server.add_fault(
        "insufficient_quota", status=400, message="Pay.", retry_after="9", code="None"
    )
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client)
    assert refused.value.body == {
        "message": "Pay.",
        "type": "insufficient_quota",
        "param": None,
        "code": "None",
    }
    assert refused.value.response.headers["retry-after"] == "9"


def test_a_bare_throttle_says_nothing_of_when(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    speech_server.add_fault("throttled_bare")
    with pytest.raises(openai.RateLimitError) as refused:
        ask(client)
    assert not {"retry-after", "retry-after-ms"} & set(refused.value.response.headers)


@pytest.mark.parametrize(
    ("name", "charges"), [("drop", 1), ("drop_early", 0), ("cut", 1), ("cut_length", 1)]
)
def test_a_broken_answer_is_a_connection_error_and_charged_if_it_was_spoken(
    speech_server: SpeechServer, client: openai.OpenAI, name: str, charges: int
) -> None:
    speech_server.add_fault(name)
    with pytest.raises(openai.APIConnectionError):
        ask(client)
    assert len(speech_server.charges) == charges
    assert [seen.fault for seen in speech_server.requests] == [name]


def test_an_unframed_cut_looks_like_success(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    whole = ask(client).content
    speech_server.add_fault("cut_unframed", at=0.5)
    answer = ask(client)
    assert len(answer.content) == len(whole) // 2
    assert answer.headers["content-type"] == "audio/mpeg"
    assert not {"content-length", "transfer-encoding"} & set(answer.headers)


@pytest.mark.parametrize("name", ["stall", "hang"])
def test_a_silent_connection_times_out_and_is_charged(
    speech_server: SpeechServer, client: openai.OpenAI, name: str
) -> None:
    speech_server.add_fault(name)
    with pytest.raises(openai.APIConnectionError):
        ask(client, timeout=0.3)
    assert speech_server.wait_for_in_flight(0, timeout_s=10)
    assert len(speech_server.charges) == 1


@pytest.mark.parametrize(("name", "wait_s"), [("drip", 0.3), ("slow", 0.1)])
def test_a_slow_answer_is_whole(
    speech_server: SpeechServer, client: openai.OpenAI, name: str, wait_s: float
) -> None:
    plain = ask(client).content
    speech_server.add_fault(name, seconds=wait_s)
    assert pcm_of(ask(client).content) == pcm_of(plain)


@pytest.mark.parametrize(
    ("name", "status", "content_type", "start"),
    [
        ("empty", 200, "audio/mpeg", b""),
        ("no_content", 204, None, b""),
        ("json", 200, "application/json", b'{"error"'),
        ("html", 200, "text/html", b"<!doctype html>"),
        ("sse", 200, "text/event-stream", b"data: "),
    ],
)
def test_a_success_can_be_no_audio_at_all(
    speech_server: SpeechServer,
    client: openai.OpenAI,
    name: str,
    status: int,
    content_type: str | None,
    start: bytes,
) -> None:
    speech_server.add_fault(name)
    answer = ask(client)
    assert answer.status_code == status
    assert (answer.headers.get("content-type") or "").startswith(content_type or "")
    assert answer.content[: len(start)] == start
    assert bool(answer.content) is bool(start)


def spoilt_and_sound(
    server: SpeechServer, client: openai.OpenAI, name: str, **rule: Any
) -> tuple[bytes, bytes]:
    """A clip with the fault in it, and one of the same text without."""
    sound = ask(client, "Good morning, how are you?").content
    server.add_fault(name, **rule)
    return ask(client, "Good morning, how are you?").content, sound


@pytest.mark.parametrize(
    ("name", "loudest_db", "quietest_db"),
    [("silent", -90, -200), ("hiss", -60, -64), ("noise", -16, -18), ("tone", -17, -19)],
)
def test_a_clip_can_hold_no_speech_at_a_plausible_length(
    speech_server: SpeechServer,
    client: openai.OpenAI,
    name: str,
    loudest_db: float,
    quietest_db: float,
) -> None:
    bad, sound = spoilt_and_sound(speech_server, client, name)
    levels = levels_db(pcm_of(bad))[5:-5]
    assert len(bad) == len(sound)
    assert quietest_db < sum(levels) / len(levels) < loudest_db


def test_a_clip_can_be_padded_late_doubled_drawled_or_cut(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    lengths = {}
    for name in ("padded", "late", "doubled", "drawled", "cut_speech"):
        bad, sound = spoilt_and_sound(speech_server, client, name, times=1)
        lengths[name] = seconds(bad) - seconds(sound)
    plain = seconds(sound)
    assert lengths == pytest.approx(
        {
            "padded": 10, "late": 3, "doubled": plain, "drawled": 0.6 * plain,
            "cut_speech": -0.4 * plain,
        },
        abs=0.1,
    )  # fmt: skip


def test_a_clip_can_be_fainter(speech_server: SpeechServer, client: openai.OpenAI) -> None:
    bad, sound = spoilt_and_sound(speech_server, client, "faint")
    assert max(levels_db(pcm_of(sound))) - max(levels_db(pcm_of(bad))) == pytest.approx(18, abs=0.5)


def test_a_clip_can_say_another_text(speech_server: SpeechServer, client: openai.OpenAI) -> None:
    bad, _ = spoilt_and_sound(speech_server, client, "wrong_word")
    speech_server.clear_faults()
    assert pcm_of(bad) == pcm_of(ask(client, "a purple umbrella").content)


def test_bytes_can_be_spoilt_though_http_is_whole(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    bad = {}
    for name in ("cut_frame", "cut_mid_frame", "garbage", "trailing", "wav"):
        bad[name], sound = spoilt_and_sound(speech_server, client, name, times=1)
    assert len(bad["cut_frame"]) < len(sound)
    assert len(bad["cut_frame"]) % 384 == 0
    assert len(bad["cut_mid_frame"]) % 384 == 192
    assert len(bad["garbage"]) == len(sound)
    assert sum(a != b for a, b in zip(bad["garbage"], sound, strict=True)) > 500
    assert len(bad["trailing"]) == len(sound) + 100
    assert bad["wav"][:4] == b"RIFF"


def test_a_tag_before_the_frames_leaves_the_clip_sound(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    tagged, sound = spoilt_and_sound(speech_server, client, "id3")
    assert tagged[:3] == b"ID3"
    assert len(tagged) == 45 + len(sound)
    assert pcm_of(tagged) == pcm_of(sound)


def test_headers_can_be_missing_malformed_or_anything(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    speech_server.add_fault("headers_missing", times=1)
    speech_server.add_fault("headers_malformed", times=1)
    speech_server.add_fault("headers", headers={"x-request-id": None, "retry-after": "soon"})
    missing, malformed, chosen = (ask(client).headers for _ in range(3))
    assert not [name for name in missing if name.startswith(("x-", "openai-"))]
    assert malformed["x-ratelimit-limit-requests"] == "unlimited"
    assert malformed["x-ratelimit-reset-tokens"] == "1 minute"
    assert "x-request-id" not in chosen
    assert chosen["retry-after"] == "soon"


# The control plane


def test_a_rule_hits_what_it_matches_as_often_as_told(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    rule = {"fault": "server_error", "match": "^bad", "times": 2}
    assert control(speech_server, "POST", "/_faults", rule).json()[0]["left"] == 2

    def outcome(text: str) -> int:
        try:
            return int(ask(client, text).status_code)
        except openai.APIStatusError as error:
            return error.status_code

    seen = [outcome(text) for text in ("good", "bad one", "bad two", "bad three")]
    assert seen == [200, 500, 500, 200]


def test_rules_can_be_cleared(speech_server: SpeechServer, client: openai.OpenAI) -> None:
    control(speech_server, "POST", "/_faults", [{"fault": "drop"}, {"fault": "server_error"}])
    assert control(speech_server, "DELETE", "/_faults").json() == []
    assert ask(client).content


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "/_faults", {"fault": "flood"}, "unknown fault; there are:"),
        ("POST", "/_faults", {"fault": "drop", "match": "("}, "not a regular expression"),
        ("POST", "/_faults", {"fault": "drop", "often": 1}, "Extra inputs"),
        ("PUT", "/_limits", {"requests_per_minute": 0}, "greater than 0"),
    ],
)
def test_nonsense_is_refused_with_the_reason(
    speech_server: SpeechServer, method: str, path: str, body: dict[str, Any], words: str
) -> None:
    answer = control(speech_server, method, path, body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_the_charge_log_tells_what_was_billed(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    speech_server.add_fault("refused", match="never")
    ask(client, "l'été", voice="nova", model=TTS_1, speed=1.5)
    with pytest.raises(openai.BadRequestError):
        ask(client, "never")
    ask(client, "hello", instructions=IN_ENGLISH)
    charges = control(speech_server, "GET", "/_charges").json()
    unlike = ("time", "request_id", "seconds")
    told = [{k: v for k, v in each.items() if k not in unlike} for each in charges]
    same = {"route": "speech", "status": 200, "take": 1, "characters": 5, "fault": None}
    assert told == [
        same
        | {"model": TTS_1, "voice": "nova", "input": "l'été", "speed": 1.5}
        | {"instructions": None, "language": "fr", "said": "l'été"},
        same
        | {"model": MINI, "voice": "alloy", "input": "hello", "speed": 1.0}
        | {"instructions": IN_ENGLISH, "language": "en", "said": "hello"},
    ]
    assert all(0.2 < each["seconds"] < 2 for each in charges)
    requests = control(speech_server, "GET", "/_requests").json()
    assert [(each["input"], each["status"], each["code"]) for each in requests] == [
        ("l'été", 200, None),
        ("never", 400, "content_policy_violation"),
        ("hello", 200, None),
    ]


def test_the_program_serves_and_leaves_its_charges_in_a_file(tmp_path: Path) -> None:
    log = tmp_path / "charges.jsonl"
    command = [sys.executable, "-m", "local.speech", "--port", "0", "--charges", str(log)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        base_url = process.stdout.readline().split()[-1]
        ask(openai.OpenAI(base_url=base_url, api_key="any", max_retries=0), "hello")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert [json.loads(line)["input"] for line in log.read_text().splitlines()] == ["hello"]


# Models and their end


def test_a_model_tells_the_day_it_closes(client: openai.OpenAI) -> None:
    assert client.models.retrieve(MINI).shutdown_date == "2027-01-06"
    assert client.models.retrieve(GPT_AUDIO).shutdown_date is None
    assert {MINI, TTS_1, GPT_AUDIO, REALTIME} <= {model.id for model in client.models.list()}


def test_on_that_day_speech_models_are_gone_and_the_others_stay(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    speech_server.set_today(date(2027, 1, 5))
    assert ask(client).content
    control(speech_server, "PUT", "/_state", {"today": "2027-01-06"})
    for call in (lambda: ask(client), lambda: client.models.retrieve(MINI)):
        with pytest.raises(openai.NotFoundError) as gone:
            call()
        assert gone.value.code == "model_not_found"
    assert MINI not in {model.id for model in client.models.list()}
    assert client.models.retrieve(GPT_AUDIO).id == GPT_AUDIO


# Chat audio


def read_aloud(client: openai.OpenAI, text: str = "Good morning", **changes: Any) -> Any:
    body: dict[str, Any] = {
        "model": GPT_AUDIO,
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "mp3"},
        "messages": [
            {"role": "system", "content": "Read it aloud, word for word."},
            {"role": "user", "content": text},
        ],
        **changes,
    }
    return client.chat.completions.create(**body)


def test_chat_audio_is_mp3_with_a_transcript_and_its_cost(client: openai.OpenAI) -> None:
    completion = read_aloud(client)
    audio = completion.choices[0].message.audio
    clip = base64.b64decode(audio.data)
    assert audio.transcript == "Good morning"
    assert len(clip) % 384 == 0
    details = completion.usage.completion_tokens_details
    assert details.audio_tokens == pytest.approx(seconds(clip) * 20, abs=2)


@pytest.mark.parametrize(
    ("name", "transcript"),
    [
        ("reworded", "Sure: Good morning, of course"),
        ("answered", "Hello! How can I help you today?"),
    ],
)
def test_a_chat_model_can_say_something_else(
    speech_server: SpeechServer, client: openai.OpenAI, name: str, transcript: str
) -> None:
    plain = base64.b64decode(read_aloud(client).choices[0].message.audio.data)
    speech_server.add_fault(name)
    audio = read_aloud(client).choices[0].message.audio
    assert audio.transcript == transcript
    assert seconds(base64.b64decode(audio.data)) > seconds(plain) + 0.3


@pytest.mark.parametrize(
    ("name", "text", "transcript"),
    [
        ("translated", "The cat is here", "le chat est here"),
        ("other_number", "Page 7", "Page 2"),
        ("other_number", "seven pages", "six pages"),
        ("dropped_word", "good morning", "good"),
        ("extra_word", "Good morning", "Good morning so"),
        ("prefaced", "Good morning", "Of course: Good morning"),
    ],
)
def test_a_chat_model_says_what_its_transcript_tells(
    speech_server: SpeechServer, client: openai.OpenAI, name: str, text: str, transcript: str
) -> None:
    speech_server.add_fault(name)
    told = read_aloud(client, text).choices[0].message.audio.transcript
    [charge] = speech_server.charges
    assert (told, charge.said, charge.fault) == (transcript, transcript, name)


@pytest.mark.parametrize(
    ("name", "transcript"), [("no_transcript", None), ("respelled", "fourteen cats and 2 dogs")]
)
def test_a_chat_model_that_reads_the_text_may_tell_it_otherwise(
    speech_server: SpeechServer, client: openai.OpenAI, name: str, transcript: str | None
) -> None:
    speech_server.add_fault(name)
    text = "14 cats and two dogs"
    audio = read_aloud(client, text).choices[0].message.audio
    [charge] = speech_server.charges
    assert (audio.transcript, charge.said) == (transcript, text)
    assert seconds(base64.b64decode(audio.data)) == pytest.approx(charge.seconds, abs=0.1)


def test_a_fault_of_words_passes_over_what_it_cant_spoil(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    speech_server.add_fault("dropped_word", times=1)
    for text in ("cat", "black cat"):
        read_aloud(client, text)
    assert [charge.fault for charge in speech_server.charges] == [None, "dropped_word"]


def test_a_share_of_the_answers_is_spoilt_alike_in_every_run_of_a_seed() -> None:
    texts = [f"word {n}" for n in range(60)]

    def spoilt(seed: int) -> list[str | None]:
        with SpeechServer(latency_s=0) as server:
            server.add_fault("prefaced", share=0.3, seed=seed)
            with openai.OpenAI(base_url=server.base_url, api_key="any") as client:
                for text in texts:
                    read_aloud(client, text)
            return [charge.fault for charge in server.charges]

    first, again, other = spoilt(1), spoilt(1), spoilt(2)
    assert first == again != other
    assert 8 <= first.count("prefaced") <= 28


def test_a_chat_model_can_refuse_without_audio(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    speech_server.add_fault("no_audio")
    message = read_aloud(client).choices[0].message
    assert message.audio is None
    assert "can't help" in message.content


def test_chat_audio_commits_the_common_faults(
    speech_server: SpeechServer, client: openai.OpenAI
) -> None:
    speech_server.add_fault("silent", times=1)
    speech_server.add_fault("cut", times=1)
    silent = base64.b64decode(read_aloud(client).choices[0].message.audio.data)
    assert max(levels_db(pcm_of(silent))) < -80
    with pytest.raises(openai.APIConnectionError):
        read_aloud(client)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"modalities": ["text"]}, "model"),
        ({"audio": {"voice": "bob", "format": "mp3"}}, "audio.voice"),
        ({"messages": [{"role": "system", "content": "Read."}]}, "messages"),
    ],
)
def test_chat_without_something_to_read_is_refused(
    client: openai.OpenAI, changes: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        read_aloud(client, **changes)
    assert refused.value.param == param


# Realtime


class Realtime:
    """A session whose every event is checked against the client's own types."""

    def __init__(self, connection: RealtimeConnection) -> None:
        self._connection = connection
        assert self.next().type == "session.created"

    def next(self) -> Any:
        return SERVER_EVENT.validate_json(self._connection.recv_bytes())

    def until(self, type: str) -> list[Any]:
        """Events up to the first of that type, the last one."""
        events: list[Any] = []
        while not events or events[-1].type != type:
            events.append(self.next())
        return events

    def update(self, **changes: Any) -> Any:
        """The answer to new settings; `update` is their event's id."""
        settings: Any = {"type": "realtime", **changes}
        self._connection.session.update(session=settings, event_id="update")
        return self.next()

    def ask(self, text: str, **changes: Any) -> None:
        """Ask for a reading; the event's id is `for ` and the text."""
        content = [{"type": "input_text", "text": text}]
        response: Any = {
            "conversation": "none",
            "instructions": "Read it aloud in English.",
            "metadata": {"utterance": text},
            "input": [{"type": "message", "role": "user", "content": content}],
            **changes,
        }
        self._connection.response.create(response=response, event_id=f"for {text}")

    def cancel(self, response_id: str | None = None) -> None:
        event = {"type": "response.cancel", "event_id": "cancel", "response_id": response_id}
        self._connection.send_raw(json.dumps(event))

    def read(self, text: str = LINE, **changes: Any) -> list[Any]:
        """All events of one reading."""
        self.ask(text, **changes)
        return self.until("response.done")

    def read_to_the_close(self, text: str = LINE) -> tuple[list[Any], ConnectionClosed]:
        """All events of a reading that the connection doesn't survive, and how it ended."""
        self.ask(text)
        events: list[Any] = []
        while True:
            try:
                events.append(self.next())
            except ConnectionClosed as closed:
                return events, closed


@pytest.fixture
def session(client: openai.OpenAI) -> Iterator[Realtime]:
    with client.realtime.connect(model=REALTIME) as connection:
        yield Realtime(connection)


def audio_of(events: list[Any]) -> array[int]:
    """The sound in the events of one response."""
    deltas = (
        base64.b64decode(event.delta)
        for event in events
        if event.type == "response.output_audio.delta"
    )
    return array("h", b"".join(deltas))


def test_a_reading_comes_in_the_apis_order_with_sound_words_limits_and_cost(
    session: Realtime,
) -> None:
    events = session.read("Good morning")

    kinds = [event.type.removeprefix("response.") for event in events]
    deltas = {"output_audio_transcript.delta", "output_audio.delta"}
    assert [kind for kind in kinds if kind not in deltas] == [
        "created",
        "rate_limits.updated",
        "output_item.added",
        "content_part.added",
        "output_audio.done",
        "output_audio_transcript.done",
        "content_part.done",
        "output_item.done",
        "done",
    ]
    assert set(kinds[4:-5]) == deltas
    words = [event.delta for event in events if event.type.endswith("transcript.delta")]
    assert words == ["Good", " morning"]
    assert next(e.transcript for e in events if e.type.endswith("transcript.done")) == "".join(
        words
    )
    response, samples = events[-1].response, audio_of(events)
    assert (response.status, response.conversation_id) == ("completed", None)
    assert response.metadata == {"utterance": "Good morning"}
    assert response.output[0].content[0].transcript == "Good morning"
    assert events[1].rate_limits[0].remaining == 9_999
    assert max(levels_db(samples)) > -20
    assert response.usage.output_token_details.audio_tokens == math.ceil(len(samples) / 1200)


def test_many_readings_run_in_parallel_and_their_parts_mix(
    speech_server: SpeechServer, session: Realtime
) -> None:
    texts = [f"number {n}" for n in range(10)]
    speech_server.add_fault("hold")
    for text in texts:
        session.ask(text)
    # The session itself is one more request.
    were_there = speech_server.wait_for_in_flight(11, timeout_s=10)
    speech_server.clear_faults()
    events = [event for _ in texts for event in session.until("response.done")]
    done = [event.response for event in events if event.type == "response.done"]
    speaking = [event.response_id for event in events if event.type.endswith("audio.delta")]
    turns = sum(a != b for a, b in itertools.pairwise(speaking))
    assert were_there
    assert sorted(response.metadata["utterance"] for response in done) == texts
    assert {response.status for response in done} == {"completed"}
    assert turns > len(texts)


def test_a_session_takes_no_more_at_once_than_told(
    speech_server: SpeechServer, session: Realtime
) -> None:
    speech_server.set_responses_per_session(2)
    speech_server.add_fault("hold")
    for text in ("one", "two", "three"):
        session.ask(text)
    error = session.until("error")[-1].error
    speech_server.clear_faults()
    for _ in range(2):
        session.until("response.done")
    assert (error.code, error.event_id) == (
        "conversation_already_has_active_response",
        "for three",
    )
    assert session.read("three")[-1].response.status == "completed"
    assert sorted(charge.input for charge in speech_server.charges) == ["one", "three", "two"]


def test_a_session_takes_its_voice_and_speed(
    speech_server: SpeechServer, session: Realtime
) -> None:
    updated = session.update(
        audio={
            "input": {"turn_detection": None},
            "output": {
                "voice": "cedar",
                "speed": 1.5,
                "format": {"type": "audio/pcm", "rate": 24000},
            },
        }
    )
    assert updated.type == "session.updated"
    assert updated.session.audio.output.voice == "cedar"
    assert updated.session.audio.input.turn_detection is None
    session.read("hello")
    assert [(each.voice, each.speed) for each in speech_server.charges] == [("cedar", 1.5)]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"audio": {"output": {"voice": "bob"}}}, "invalid_value", "Invalid value: 'bob'"),
        ({"audio": {"output": {"speed": 2.0}}}, "invalid_value", "less than or equal to 1.5"),
        ({"audio": {"output": {"pitch": 1}}}, "unknown_parameter", "session.audio.output.pitch"),
        ({"type": None}, "invalid_value", "session.type"),
    ],
)
def test_a_bad_session_setting_is_an_error_event(
    session: Realtime, changes: Any, code: str, words: str
) -> None:
    error = session.update(**changes)
    assert error.type == "error"
    assert (error.error.event_id, error.error.code) == ("update", code)
    assert words in error.error.message


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        (
            {"max_output_tokens": 4097},
            "invalid_value",
            "response.max_output_tokens",
        ),
        ({"metadata": {"k": "v" * 513}}, "invalid_value", "response.metadata.k"),
        ({"metadata": {str(n): "" for n in range(17)}}, "invalid_value", "response.metadata"),
        ({"voice": "alloy"}, "unknown_parameter", "response.voice"),
        ({"conversation": "auto"}, "invalid_value", "response.conversation"),
        ({"input": []}, "invalid_value", "response.input"),
        ({"audio": {"output": {"voice": "bob"}}}, "invalid_value", "response.audio.output.voice"),
    ],
)
def test_a_bad_response_is_an_error_event_and_not_charged(
    speech_server: SpeechServer, session: Realtime, changes: Any, code: str, param: str
) -> None:
    session.ask("hello", **changes)
    error = session.next().error
    assert (error.event_id, error.code, error.param) == ("for hello", code, param)
    assert session.read("hello")[-1].response.status == "completed"
    assert len(speech_server.charges) == 1


def test_a_voice_stays_once_the_session_has_spoken(session: Realtime) -> None:
    session.read("hello")
    updated = session.update(audio={"output": {"voice": "ash"}})
    session.ask("hello", audio={"output": {"voice": "ash"}})
    assert updated.error.code == session.next().error.code == "cannot_update_voice"


def test_a_reading_can_fail_and_is_not_charged(
    speech_server: SpeechServer, session: Realtime
) -> None:
    speech_server.add_fault("failed", match="one")
    speech_server.add_fault("insufficient_quota", match="two")
    failed, unpaid = (session.read(text)[-1].response for text in ("one", "two"))
    assert (failed.status, failed.status_details.error.type) == ("failed", "server_error")
    assert (unpaid.status, unpaid.status_details.error.code) == ("failed", "insufficient_quota")
    assert speech_server.charges == []


@pytest.mark.parametrize(
    ("fault", "rule", "status", "reason"),
    [
        ("incomplete", {}, "incomplete", "max_output_tokens"),
        ("incomplete", {"code": "content_filter"}, "incomplete", "content_filter"),
        ("cancelled", {}, "cancelled", "turn_detected"),
    ],
)
def test_a_reading_can_end_early_and_tells_why(
    speech_server: SpeechServer,
    session: Realtime,
    fault: str,
    rule: dict[str, Any],
    status: str,
    reason: str,
) -> None:
    whole = audio_of(session.read())
    speech_server.add_fault(fault, at=0.5, **rule)
    events = session.read()
    response = events[-1].response
    assert (response.status, response.status_details.reason) == (status, reason)
    assert response.output[0].status == events[-2].item.status == "incomplete"
    assert len(audio_of(events)) == pytest.approx(len(whole) / 2, abs=1)
    assert len(speech_server.charges) == 2


def test_a_reading_can_be_bounded_in_tokens(session: Realtime) -> None:
    events = session.read(max_output_tokens=10)
    assert events[-1].response.status_details.reason == "max_output_tokens"
    assert len(audio_of(events)) == 10 * 1200


def test_a_reading_can_be_reworded_refused_silent_or_an_error(
    speech_server: SpeechServer, session: Realtime
) -> None:
    for name in ("reworded", "no_audio", "silent", "error_event", "full"):
        speech_server.add_fault(name, match=name)
    reworded = session.read("reworded")[-1].response
    refused = session.read("no_audio")
    silent = session.read("silent")
    errors = []
    for name in ("error_event", "full"):
        session.ask(name)
        errors.append(session.next().error)
    assert reworded.output[0].content[0].transcript == "Sure: reworded, of course"
    assert refused[-1].response.output[0].content[0].type == "output_text"
    assert not audio_of(refused)
    assert max(audio_of(silent)) == 0
    assert [error.event_id for error in errors] == ["for error_event", "for full"]
    assert [error.code for error in errors] == [None, "conversation_already_has_active_response"]


def test_limits_and_names_may_not_come(speech_server: SpeechServer, session: Realtime) -> None:
    for name in ("headers_missing", "unnamed"):
        speech_server.add_fault(name, match=name)
    limitless, unnamed = session.read("headers_missing"), session.read("unnamed")
    assert "rate_limits.updated" not in [event.type for event in limitless]
    assert {e.response.metadata for e in unnamed if e.type in BOUNDS} == {None}


@pytest.mark.parametrize(
    ("fault", "code"), [("cut", None), ("closed", 1011), ("session_expired", 1001)]
)
def test_the_connection_can_end_in_the_middle_and_that_is_charged(
    speech_server: SpeechServer, session: Realtime, fault: str, code: int | None
) -> None:
    speech_server.add_fault(fault)
    events, closed = session.read_to_the_close()
    received = closed.rcvd.code if closed.rcvd else None
    assert received == code
    assert audio_of(events)
    assert "response.done" not in [event.type for event in events]
    assert len(speech_server.charges) == 1


def test_a_session_ends_when_its_time_is_over_whatever_is_under_way(
    client: openai.OpenAI, speech_server: SpeechServer
) -> None:
    speech_server.add_fault("hang")
    control(speech_server, "PUT", "/_state", {"session_s": 0.3})
    with client.realtime.connect(model=REALTIME) as connection:
        events, closed = Realtime(connection).read_to_the_close()
    told = "Your session hit the maximum duration of 0.005 minutes."
    assert (events[-1].error.code, events[-1].error.message) == ("session_expired", told)
    assert closed.rcvd is not None
    assert (closed.rcvd.code, closed.rcvd.reason) == (1001, told)
    assert speech_server.wait_for_in_flight(0, timeout_s=10)


def test_a_reading_can_be_cancelled_by_its_id_alone(
    speech_server: SpeechServer, session: Realtime
) -> None:
    speech_server.add_fault("hang")
    session.ask("hello")
    begun = session.until("response.content_part.added")[0].response
    session.cancel()
    session.cancel(begun.id)
    error = session.next()
    ended = session.until("response.done")
    session.cancel(begun.id)
    again = session.next()
    assert (ended[-1].response.status, ended[-1].response.status_details.reason) == (
        "cancelled",
        "client_cancelled",
    )
    assert ended[-2].item.status == "incomplete"
    assert error.error.code == again.error.code == "response_cancel_not_active"


def test_an_empty_bucket_fails_the_reading(speech_server: SpeechServer, session: Realtime) -> None:
    speech_server.set_limits(requests_per_minute=1)
    session.read("one")
    events = session.read("two")
    error = events[-1].response.status_details.error
    assert error.code == "rate_limit_exceeded"
    assert "Please try again in" in error.message
    assert events[1].rate_limits[0].remaining == 0


def test_an_unknown_model_ends_the_session(client: openai.OpenAI) -> None:
    with client.realtime.connect(model="gpt-realtime-9") as connection:
        error: Any = connection.recv()
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
    assert error.error.code == "model_not_found"
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4000


def test_a_wrong_key_opens_no_session() -> None:
    with SpeechServer(api_key="right") as server, pytest.raises(InvalidStatus) as refused:
        client_of(server, "wrong").realtime.connect(model=REALTIME).enter()
    assert refused.value.response.status_code == 401


# Which language


@pytest.mark.parametrize(
    ("text", "instructions", "language"),
    [
        ("chat", None, "en"),
        ("chat", IN_FRENCH, "fr"),
        ("the cat", IN_FRENCH, "fr"),
        ("le chat", 'as a native speaker of the language with code "en", even if', "en"),
        ("pain", "Speak French, with no English accent.", "fr"),
        ("pain", "Without an English accent: this is French.", "fr"),
        ("Katze", "Sprich Deutsch.", "de"),
        ("élève", None, "fr"),
        ("aujourd’hui", None, "fr"),
        ("Mangeons, puis on verra.", None, "fr"),
        ("I don't understand.", None, "en"),
        ("Let's eat, then we'll see.", "Speak slowly.", "en"),
    ],
)
def test_the_language_is_guessed_from_instructions_then_text_then_the_default(
    text: str, instructions: str | None, language: str
) -> None:
    assert guess(text, instructions, "en") == language
