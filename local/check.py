"""Whether a spoken deck is what it should be: rows, objects, audio, and what was charged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from local.api import Api, audio_urls
from local.job import Utterance, follow, order, utterances
from local.speech import SpeechServer
from local.stack import Embedded
from memolist_tts.core.verdict import judge

AUDIBLE = ("spoken", "reused")


def faults(stack: Embedded, api: Api, list_id: str, job_id: str, audio: Path) -> list[str]:
    """Everything that is wrong after a first job over a list; an empty list if nothing is.

    `audio` is the folder that the bucket's objects were copied to. With the local speech
    server, two more jobs run: one over the same list, one over a copy of it. A real provider
    doesn't tell what it charged, and is asked for nothing more.
    """
    heard = utterances(api, job_id)
    found = [
        *_row_faults(api.cards(list_id), heard),
        *_object_faults(stack.objects(), heard, audio),
        *_twice_faults(heard),
    ]
    if stack.speech is not None:
        found += _charge_faults(stack.speech, heard)
        found += _second_job_faults(stack, stack.speech, api, list_id)
    return found


def _row_faults(cards: Sequence[dict[str, str]], heard: Sequence[Utterance]) -> Iterator[str]:
    expected = 2 * len(cards)
    if len(heard) != expected:
        yield f"{len(heard)} utterances have a row in tts.utterance, not {expected}"
    on_cards = Counter(url for card in cards for url in audio_urls(card) if url)
    told = Counter(each.url for each in heard if each.state in AUDIBLE)
    if on_cards != told:
        yield f"the cards carry {on_cards.total()} URLs, tts.utterance {told.total()}"
    for each in heard:
        if each.state not in (*AUDIBLE, "skipped"):
            yield f"{_name(each)} is {each.state}: {each.message}"


def _object_faults(
    objects: dict[str, bytes], heard: Sequence[Utterance], audio: Path
) -> Iterator[str]:
    base = audio.as_uri() + "/"
    for each in heard:
        if each.state not in AUDIBLE:
            continue
        mp3 = objects.get((each.url or "").removeprefix(base))
        if mp3 is None:
            yield f"{_name(each)} has no object at {each.url}"
            continue
        verdict = judge(mp3, each.spoken)
        if not verdict.is_sound:
            yield f"{_name(each)} doesn't sound right: {verdict.reason}"
        if abs(verdict.duration_ms - each.duration_ms) > 1:
            yield f"{_name(each)} lasts {verdict.duration_ms} ms, not {each.duration_ms} as its row"


def _twice_faults(heard: Sequence[Utterance]) -> Iterator[str]:
    spoken = Counter((each.language, each.spoken) for each in heard if each.state == "spoken")
    for (language, text), count in spoken.items():
        if count > 1:
            yield f"{text!r} ({language}) was spoken {count} times"


def _charge_faults(speech: SpeechServer, heard: Sequence[Utterance]) -> Iterator[str]:
    texts = {(each.language, each.spoken) for each in heard if each.state in AUDIBLE}
    charged = len(speech.charges)
    if charged != len(texts):
        yield f"the provider charged {charged} requests for {len(texts)} different utterances"


def _second_job_faults(
    stack: Embedded, speech: SpeechServer, api: Api, list_id: str
) -> Iterator[str]:
    texts = [(card["textEn"], card["textFr"]) for card in api.cards(list_id)]
    for what, other in (("the same list", list_id), ("a copy of it", api.add_list(texts))):
        charged = len(speech.charges)
        *_, end = follow(api, order(stack, api, other))
        if end.status != "completed":
            yield f"another job over {what} ended as {end.status}: {end.why}"
        if again := len(speech.charges) - charged:
            yield f"another job over {what} made {again} calls to the provider, not 0"


def _name(each: Utterance) -> str:
    return f"card {each.card}, {each.language}, {each.spoken!r},"
