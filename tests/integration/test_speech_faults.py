"""The real client over HTTP, against answers written byte by byte.

What every route does alike is in test_speech_contract.py.
"""

from __future__ import annotations

import base64
import json
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import openai
import pytest

from memolist_tts.core.errors import (
    KeyRefused,
    Misconfigured,
    NetworkFault,
    OutOfMoney,
    ProviderBusy,
    SpeechError,
    Throttled,
    UtteranceRefused,
)
from memolist_tts.core.model import SpeechRequest, Voice
from memolist_tts.core.prices import Usage
from memolist_tts.speech import requests
from memolist_tts.speech.chat import ChatSpeaker
from memolist_tts.speech.client import open_client
from memolist_tts.speech.endpoint import EndpointSpeaker
from memolist_tts.speech.models import shutdown_date

KEY = "sk-proj-abcdefgh12345678"
VOICE = Voice(language="en", model="tts-1", name="alloy")
REQUEST = requests.endpoint("the cat", VOICE, identity="openai")
MP3 = bytes.fromhex("fff3e4c4") + bytes(572)
PATIENCE_S = 5.0
SOON_S = 0.2
"""How long a test waits for what never comes."""


class Provider(socketserver.ThreadingTCPServer):
    """Gives every request the same raw answer; None keeps it waiting until the end."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.raw: bytes | None = b""
        self.heads: list[str] = []
        self.bodies: list[Any] = []
        self.arrived = threading.Semaphore(0)
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Exchange(socketserver.StreamRequestHandler):
    server: Provider

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n")).decode()
        length = next(
            (
                int(line[15:])
                for line in head.splitlines()
                if line[:15].lower() == "content-length:"
            ),
            0,
        )
        body = self.rfile.read(length)
        self.server.heads.append(head)
        self.server.bodies.append(json.loads(body) if body else None)
        self.server.arrived.release()
        if self.server.raw is None:
            self.server.over.wait()
        else:
            self.wfile.write(self.server.raw)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture
def client(provider: Provider) -> Iterator[openai.OpenAI]:
    with open_client(KEY, base_url=provider.url, max_in_flight=1) as client:
        yield client


@pytest.fixture
def endpoint(client: openai.OpenAI) -> EndpointSpeaker:
    return EndpointSpeaker(client)


def raw(status: int, body: object = b"", *, json_type: bool = True, **headers: str) -> bytes:
    """A whole HTTP answer; names of headers are written with underscores."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("content-type", "application/json" if json_type else "text/html")
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in named.items())]
    lines += [f"content-length: {len(content)}", "connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def error(
    message: str = "No.", *, type: object = None, code: object = None, param: object = None
) -> dict[str, object]:
    return {"error": {"message": message, "type": type, "code": code, "param": param}}


def failed(endpoint: EndpointSpeaker, timeout_s: float = PATIENCE_S) -> SpeechError:
    with pytest.raises(SpeechError) as caught:
        endpoint.speak(REQUEST, timeout_s)
    return caught.value


MONEY = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
]
PYDANTIC_VOICE = [{"loc": ["body", "voice"], "msg": "Input should be 'a'", "type": "enum"}]
PYDANTIC_INPUT = [
    {"loc": ["body", "input"], "msg": "should be shorter", "type": "x", "input": "voice not found"}
]
PRINTED_VOICE = "[{'type': 'enum', 'loc': ('body', 'voice'), 'msg': 'Input should be'}]"
PRINTED_LONG = "[{'type': 'string_too_long', 'loc': ('body', 'input'), 'msg': 'at most'}]"
TABLE: dict[str, tuple[bytes, type[SpeechError]]] = {
    # money
    **{f"429 with code {code}": (raw(429, error(code=code)), OutOfMoney) for code in MONEY},
    **{f"429 with type {code}": (raw(429, error(type=code)), OutOfMoney) for code in MONEY},
    **{f"400 with code {code}": (raw(400, error(code=code)), OutOfMoney) for code in MONEY},
    **{f"400 with type {code}": (raw(400, error(type=code)), OutOfMoney) for code in MONEY},
    "402": (raw(402, error()), OutOfMoney),
    "402 without a body": (raw(402), OutOfMoney),
    "403 with a money code": (raw(403, error(code="insufficient_quota")), OutOfMoney),
    "429 whose words alone speak of quota": (
        raw(429, error("You exceeded your current quota", type="None", code="429")),
        OutOfMoney,
    ),
    # key
    "401": (raw(401, error(code="invalid_api_key")), KeyRefused),
    "403": (raw(403, error(code="unsupported_country_region_territory")), KeyRefused),
    "403 as FastAPI says it": (raw(403, {"detail": "Not authenticated"}), KeyRefused),
    # configuration
    "404": (raw(404, {"detail": "Not Found"}), Misconfigured),
    "404 as a page": (raw(404, b"<html>no</html>", json_type=False), Misconfigured),
    "410": (raw(410, error("The model `tts-1` has been shut down")), Misconfigured),
    "model_not_found at 404": (raw(404, error(code="model_not_found")), Misconfigured),
    "model_not_found at 403": (raw(403, error(code="model_not_found")), Misconfigured),
    "model_not_found at 400": (raw(400, error(code="model_not_found")), Misconfigured),
    "400 with param model": (raw(400, error(param="model")), Misconfigured),
    "400 with param voice": (raw(400, error(param="voice")), Misconfigured),
    "400 with param audio.voice": (raw(400, error(param="audio.voice")), Misconfigured),
    "422 with param voice": (raw(422, error(param="voice")), Misconfigured),
    "422 whose detail is a list": (raw(422, {"detail": PYDANTIC_VOICE}), Misconfigured),
    "400 whose detail is an object": (
        raw(400, {"detail": {"error": "validation", "message": "Voice 'x' not found. Use: a"}}),
        Misconfigured,
    ),
    "400 with a printed list": (raw(400, error(PRINTED_VOICE)), Misconfigured),
    "400 whose words name the model": (raw(400, {"detail": "Unknown model: x"}), Misconfigured),
    "304": (raw(304), Misconfigured),
    # throttle
    "429": (raw(429, error(type="requests", code="rate_limit_exceeded")), Throttled),
    "429 without a body": (raw(429), Throttled),
    "429 of a proxy": (raw(429, error(type="None", code="429", param="None")), Throttled),
    "429 with a number as its code": (raw(429, error(code=429)), Throttled),
    # busy
    **{f"{status}": (raw(status, error()), ProviderBusy) for status in (408, 409, 500, 503, 529)},
    "400 for a model that is shut down": (
        raw(400, error("The model `gpt-4o-mini-tts` has been shut down.")),
        Misconfigured,
    ),
    "502 as a page": (raw(502, b"<html>Bad gateway</html>", json_type=False), ProviderBusy),
    "500 that hides a 400": (
        raw(500, error("litellm.BadRequestError: voice not found", type="None", code="500")),
        ProviderBusy,
    ),
    # utterance
    "400": (raw(400, error("Rejected", code="content_policy_violation")), UtteranceRefused),
    "400 with param input": (raw(400, error("The model can't", param="input")), UtteranceRefused),
    "400 that only mentions the model": (raw(400, error("The model balked")), UtteranceRefused),
    "415": (raw(415, error()), UtteranceRefused),
    "422 of the input, which it echoes": (raw(422, {"detail": PYDANTIC_INPUT}), UtteranceRefused),
    "422 as text": (raw(422, b"nope", json_type=False), UtteranceRefused),
    "400 with a JSON list": (raw(400, ["nope"]), UtteranceRefused),
    "400 whose error is text": (raw(400, {"error": "nope"}), UtteranceRefused),
    "400 whose error is null": (raw(400, {"error": None}), UtteranceRefused),
    "400 with JSON null": (raw(400, b"null"), UtteranceRefused),
    # success that isn't
    "200 without a byte": (raw(200), ProviderBusy),
    "204": (raw(204), ProviderBusy),
    "200 with a JSON error": (raw(200, error("Overloaded")), ProviderBusy),
    "200 with a money code": (raw(200, error(code="insufficient_quota")), OutOfMoney),
    "200 with model_not_found": (raw(200, error(code="model_not_found")), Misconfigured),
    # network
    "nothing, then closed": (b"", NetworkFault),
    "not HTTP": (b"hello\r\n\r\n", NetworkFault),
    "cut before the promised length": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 576\r\n\r\n" + MP3[:100],
        NetworkFault,
    ),
    "cut before the last chunk": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n" + MP3[:100] + b"\r\n",
        NetworkFault,
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_an_answer_means_what_the_table_says_and_is_asked_for_once(
    provider: Provider, endpoint: EndpointSpeaker, name: str
) -> None:
    provider.raw, expected = TABLE[name]

    fault = failed(endpoint)

    assert type(fault) is expected, fault
    assert len(provider.heads) == 1


def test_what_is_sent_is_the_request_without_the_providers_identity(
    provider: Provider, endpoint: EndpointSpeaker
) -> None:
    provider.raw = raw(200, MP3)
    voice = Voice(
        language="fr", model="gpt-4o-mini-tts", name="nova", instructions="Lis.", speed=0.85
    )
    request = requests.endpoint("déjà vu", voice, identity="openai")

    endpoint.speak(request, PATIENCE_S)

    assert provider.bodies == [{name: request[name] for name in request if name != "provider"}]
    assert provider.heads[0].startswith("POST /v1/audio/speech ")
    assert f"Bearer {KEY}" in provider.heads[0]


@pytest.mark.parametrize(
    "answer",
    [
        raw(200, b"<html>Welcome</html>", json_type=False),
        raw(200, b'data: {"type":"speech.audio.delta"}\n\n', json_type=False),
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + MP3[:100],
    ],
    ids=["a page", "server-sent events", "a cut that nothing marks"],
)
def test_bytes_that_only_the_verdict_can_judge_are_handed_over(
    provider: Provider, endpoint: EndpointSpeaker, answer: bytes
) -> None:
    provider.raw = answer

    speech = endpoint.speak(REQUEST, PATIENCE_S)

    assert speech.mp3 == answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("answer", [raw(413), raw(400, error(PRINTED_LONG))], ids=["413", "400"])
def test_a_text_too_long_for_the_provider_is_told_from_other_refusals(
    provider: Provider, endpoint: EndpointSpeaker, answer: bytes
) -> None:
    provider.raw = answer

    fault = failed(endpoint)

    assert (type(fault), fault.code) == (UtteranceRefused, "too_long")
    assert "Shorten the text of the card." in str(fault)


def test_refusals_of_one_cause_have_one_signature(
    provider: Provider, endpoint: EndpointSpeaker
) -> None:
    provider.raw = raw(400, error("Bad text", code="invalid_value"))

    faults = [failed(endpoint), failed(endpoint)]

    signatures = [fault.signature for fault in faults if isinstance(fault, UtteranceRefused)]
    assert signatures == [(400, "invalid_value")] * 2


def test_a_refusal_names_its_cause_its_id_and_the_fix(
    provider: Provider, endpoint: EndpointSpeaker
) -> None:
    provider.raw = raw(
        429, error("Your credit is used up.", code="insufficient_quota"), x_request_id="req_7"
    )

    fault = failed(endpoint)

    assert str(fault) == (
        "The account can't pay (status 429, code insufficient_quota, request req_7): "
        "Your credit is used up. Top up credit or raise the spend limit at the provider."
    )
    assert (fault.code, fault.request_id) == ("out_of_quota", "req_7")


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        (401, "Set OPENAI_API_KEY to"),
        (404, "Set TTS_PROVIDER, TTS_MODEL"),
        (429, "Lower REQUESTS_PER_MINUTE"),
        (400, "Change the text of the card."),
    ],
)
def test_every_message_says_what_to_do(
    provider: Provider, endpoint: EndpointSpeaker, status: int, fix: str
) -> None:
    provider.raw = raw(status, error())

    assert fix in str(failed(endpoint))


def test_a_long_answer_is_shortened_to_one_line(
    provider: Provider, endpoint: EndpointSpeaker
) -> None:
    provider.raw = raw(500, b"<html>\n" + b"sorry\n" * 5000, json_type=False)

    message = str(failed(endpoint))

    assert "<html> sorry sorry" in message
    assert "\n" not in message
    assert len(message) < 400


def test_a_key_without_a_familiar_shape_is_hidden_too(provider: Provider) -> None:
    provider.raw = raw(401, error("Who is hunter2-hunter2?"))
    with open_client("hunter2-hunter2", base_url=provider.url, max_in_flight=1) as client:
        fault = failed(EndpointSpeaker(client))

    assert "Who is [key]?" in str(fault)


@pytest.mark.parametrize("key", ["", " \n", "sk-☃", "sk-a\nb"])
def test_a_key_that_no_header_can_carry_is_refused_at_once(key: str) -> None:
    with pytest.raises(KeyRefused, match="Set OPENAI_API_KEY"):
        open_client(key, max_in_flight=1)


def test_a_key_may_come_with_the_newline_of_its_file(provider: Provider) -> None:
    provider.raw = raw(200, MP3)
    with open_client(f"{KEY}\n", base_url=provider.url, max_in_flight=1) as client:
        EndpointSpeaker(client).speak(REQUEST, PATIENCE_S)

    assert f"Bearer {KEY}\r\n" in provider.heads[0]


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_address_is_openais_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, blank: str | None
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")

    with open_client(KEY, base_url=blank, max_in_flight=1) as client:
        assert str(client.base_url) == "https://api.openai.com/v1/"


def test_a_throttle_without_readable_headers_asks_for_no_wait(
    provider: Provider, endpoint: EndpointSpeaker
) -> None:
    provider.raw = raw(429, error(), retry_after="soon", x_ratelimit_limit_requests="?")

    fault = failed(endpoint)

    assert isinstance(fault, Throttled)
    assert (fault.retry_after_s, fault.limits) == (None, None)


def test_a_request_that_finds_no_free_connection_bills_nothing(
    provider: Provider, endpoint: EndpointSpeaker
) -> None:
    provider.raw = None
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(endpoint.speak, REQUEST, PATIENCE_S) for _ in range(2)]
        assert all(provider.arrived.acquire(timeout=PATIENCE_S) for _ in held)

        fault = failed(endpoint, SOON_S)

        provider.over.set()
    assert isinstance(fault, NetworkFault)
    assert not fault.maybe_billed
    assert "PoolTimeout" in str(fault)
    assert all(isinstance(call.exception(), NetworkFault) for call in held)


def test_an_address_that_is_no_url_is_a_configuration_fault() -> None:
    with open_client(KEY, base_url="speech.example/v1", max_in_flight=1) as client:
        fault = failed(EndpointSpeaker(client))

    assert isinstance(fault, Misconfigured)
    assert "Set OPENAI_BASE_URL" in str(fault)


# Chat audio


def completion(message: object, *, finish_reason: str = "stop", usage: object = None) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return raw(200, {"choices": [choice], "usage": usage}, x_request_id="req_c")


def chat_request(client: openai.OpenAI) -> tuple[ChatSpeaker, SpeechRequest]:
    voice = Voice(language="fr", model="gpt-audio-1.5", name="marin")
    return ChatSpeaker(client), requests.chat("le pain", voice, identity="openai-chat")


def test_chat_gives_the_audio_the_words_and_the_tokens(
    provider: Provider, client: openai.OpenAI
) -> None:
    audio = {"id": "a", "data": base64.b64encode(MP3).decode(), "transcript": "Le pain."}
    details = {"audio_tokens": 24}
    usage = {"prompt_tokens": 90, "completion_tokens": 30, "completion_tokens_details": details}
    provider.raw = completion({"role": "assistant", "audio": audio}, usage=usage)
    speaker, request = chat_request(client)

    speech = speaker.speak(request, PATIENCE_S)

    assert speech.mp3 == MP3
    assert speech.transcript == "Le pain."
    assert speech.usage == Usage(audio_out=24, text_in=90, text_out=6)
    assert speech.request_id == "req_c"
    assert provider.heads[0].startswith("POST /v1/chat/completions ")
    assert provider.bodies == [{name: request[name] for name in request if name != "provider"}]


@pytest.mark.parametrize("told", [{}, {"transcript": None}, {"transcript": ""}])
def test_chat_that_tells_no_words_has_an_empty_transcript_not_none(
    provider: Provider, client: openai.OpenAI, told: dict[str, str | None]
) -> None:
    audio = {"id": "a", "data": base64.b64encode(MP3).decode(), **told}
    provider.raw = completion({"role": "assistant", "audio": audio})
    speaker, request = chat_request(client)

    assert speaker.speak(request, PATIENCE_S).transcript == ""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (completion({"content": "Le pain", "audio": None}), ProviderBusy),
        (completion({"audio": {"data": ""}}), ProviderBusy),
        (completion({"audio": {"data": "?"}}), ProviderBusy),
        (completion({"refusal": "I can't say that."}), UtteranceRefused),
        (completion({"content": None}, finish_reason="content_filter"), UtteranceRefused),
        (raw(200, {"choices": []}), ProviderBusy),
        (raw(200, b"<html>hello</html>", json_type=False), ProviderBusy),
        (raw(200, error(code="insufficient_quota")), OutOfMoney),
        (raw(400, error(param="audio.voice")), Misconfigured),
        (raw(429, error(code="insufficient_quota")), OutOfMoney),
        (raw(401, error()), KeyRefused),
        (b"", NetworkFault),
    ],
)
def test_chat_without_audio_is_an_error_by_its_cause(
    provider: Provider, client: openai.OpenAI, answer: bytes, expected: type[SpeechError]
) -> None:
    provider.raw = answer
    speaker, request = chat_request(client)

    with pytest.raises(expected):
        speaker.speak(request, PATIENCE_S)

    assert len(provider.heads) == 1


# The end of a model


def test_an_answer_of_chat_that_was_cut_at_its_limit_is_asked_again(
    provider: Provider, client: openai.OpenAI
) -> None:
    audio = {"id": "a", "data": base64.b64encode(MP3).decode(), "transcript": "Le pain."}
    provider.raw = completion({"role": "assistant", "audio": audio}, finish_reason="length")
    speaker, request = chat_request(client)

    with pytest.raises(ProviderBusy, match="cut at its token limit"):
        speaker.speak(request, PATIENCE_S)


@pytest.mark.parametrize("usage", [None, {}, {"completion_tokens": "many"}, "free"])
def test_a_bill_that_cant_be_read_leaves_the_audio_as_good_as_it_is(
    provider: Provider, client: openai.OpenAI, usage: object
) -> None:
    audio = {"id": "a", "data": base64.b64encode(MP3).decode(), "transcript": "Le pain."}
    provider.raw = completion({"role": "assistant", "audio": audio}, usage=usage)
    speaker, request = chat_request(client)

    speech = speaker.speak(request, PATIENCE_S)

    assert (speech.mp3, speech.usage) == (MP3, None)


@pytest.mark.parametrize(
    ("answer", "day"),
    [
        (raw(200, {"id": "m", "shutdown_date": "2027-03-01"}), date(2027, 3, 1)),
        (raw(200, {"id": "m", "shutdown_date": "2027-03-01T00:00:00Z"}), date(2027, 3, 1)),
        (raw(200, {"id": "m", "shutdown_date": None}), None),
        (raw(200, {"id": "m", "shutdown_date": "soon"}), None),
        (raw(200, {"id": "m"}), None),
        (raw(200, ["m"]), None),
        (raw(200, b"<html>hello</html>", json_type=False), None),
        (raw(404, error()), None),
        (raw(401, error()), None),
        (raw(500), None),
        (b"", None),
    ],
)
def test_the_day_a_model_ends_is_known_only_if_its_server_tells(
    provider: Provider, client: openai.OpenAI, answer: bytes, day: date | None
) -> None:
    provider.raw = answer

    assert shutdown_date(client, "tts-1") == day
    assert provider.heads[0].startswith("GET /v1/models/tts-1 ")


@pytest.mark.parametrize(
    ("answer", "model", "day"),
    [
        (raw(200, {"id": "tts-1"}), "tts-1", date(2027, 1, 6)),
        (raw(404, error(code="model_not_found")), "gpt-4o-mini-tts", date(2027, 1, 6)),
        (raw(200, {"shutdown_date": "2027-02-01"}), "tts-1-hd", date(2027, 2, 1)),
        (raw(200, {"id": "gpt-audio-1.5"}), "gpt-audio-1.5", None),
    ],
)
def test_openais_speech_models_end_as_announced_unless_it_tells_another_day(
    provider: Provider, answer: bytes, model: str, day: date | None
) -> None:
    provider.raw = answer
    proxy = provider.url.removesuffix("/v1")
    with openai.OpenAI(
        api_key=KEY,
        base_url="http://api.openai.com/v1",
        max_retries=0,
        http_client=openai.DefaultHttpx2Client(proxy=proxy),
    ) as client:
        assert shutdown_date(client, model) == day
