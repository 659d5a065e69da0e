"""`make language`: what can be told, offline, of the language in which a word is spoken.

60 words that English and French spell alike, and plain words and sentences to compare
with, are asked of the local speech server as the worker asks; then two recognisers say
which language each clip is in. The table goes to bench/LANGUAGE.md. With a folder of
real clips (en/*.mp3, fr/*.mp3), Whisper listens to those instead, and nothing is written.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.machine import machine
from bench.recognisers import Sound, Whisper, distance, heard
from local.speech import SpeechServer
from memolist_tts.assemble import Worker
from memolist_tts.core.model import Options
from memolist_tts.core.text import spoken
from memolist_tts.core.verdict import judge, publishable
from memolist_tts.settings import Needs, Settings

HERE = Path(__file__).parent
HOMOGRAPHS, RESULTS = HERE / "homographs.csv", HERE / "LANGUAGE.md"
PHRASES = HERE.parent / "tests" / "data" / "phrases.csv"
LANGUAGES = {"en": "English", "fr": "French"}
WORDS, SENTENCES = 20, 10
LEAST_WORDS = 4
"""Of a sentence."""
VOICE, OTHER_VOICE = "alloy", "nova"
SURE = 0.75
"""The least share of the two languages' probability that counts as an answer."""
APART = 0.05
"""How much nearer than the other, as a share, a rendering must be to count as one."""

HOMOGRAPH, WORD, SENTENCE = "homograph", "plain word", "plain sentence"
CROSSED = "plain word of the other language"
WHISPER, LIKENESS = "Whisper", "likeness"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A clip: of what kind, the words, and the language it was asked and spoken in."""

    kind: str
    text: str
    language: str


@dataclass(slots=True)
class Answers:
    """What the recognisers say of one case; None where they can't decide."""

    case: Case
    named: dict[str, str | None] = field(default_factory=dict)
    french_share: float | None = None
    """Whisper's, of the two languages together; None without Whisper."""
    first_guess: str = ""
    """Whisper's, of 99 languages."""

    def outcome(self, recogniser: str) -> str:
        named = self.named[recogniser]
        if named is None:
            return "undecided"
        return "right" if named == self.case.language else "wrong"


class Speech:
    """The local server, asked by the worker's own requests."""

    def __init__(self, base_url: str) -> None:
        environ = {"OPENAI_BASE_URL": base_url, "TTS_PROVIDER": "endpoint"}
        self._worker = Worker(Settings.load(Needs.SPEECH, environ))

    def take(self, text: str, language: str, voice: str) -> bytes:
        asked = self._worker.voice(language, Options(voice=voice))
        return self._worker.speaker().speak(self._worker.request(text, asked), 60).mp3

    def clip(self, text: str, language: str) -> Sound:
        """What would be published."""
        said = spoken(text, language).text
        take = self.take(said, language, VOICE)
        return heard(publishable(take, judge(take, said)))

    def renderings(self, text: str) -> dict[str, Sound]:
        """The same words in each language, in another voice."""
        return {
            language: heard(self.take(spoken(text, language).text, language, OTHER_VOICE))
            for language in LANGUAGES
        }


def cases() -> list[Case]:
    """Every clip of the table. Words of a kind in one language are never of the other's kind."""
    with HOMOGRAPHS.open(encoding="utf-8", newline="") as file:
        alike = [row["word"] for row in csv.DictReader(file)]
    with PHRASES.open(encoding="utf-8", newline="") as file:
        pairs = [
            {language: row[language] for language in LANGUAGES}
            for row in csv.DictReader(file)
            if row["en"] != row["fr"] and not {row["en"], row["fr"]} & {*alike}
        ]
    words = [each for each in pairs if all(text.isalpha() for text in each.values())][:WORDS]
    sentences = [
        each for each in pairs if all(len(text.split()) >= LEAST_WORDS for text in each.values())
    ][:SENTENCES]
    return [
        Case(kind=kind, text=text, language=language)
        for language, other in (("en", "fr"), ("fr", "en"))
        for kind, texts in (
            (HOMOGRAPH, alike),
            (WORD, [each[language] for each in words]),
            (SENTENCE, [each[language] for each in sentences]),
            (CROSSED, [each[other] for each in words]),
        )
        for text in texts
    ]


def listen(console: Console) -> list[Answers]:
    """Speak and recognise every case."""
    whisper = Whisper() if Whisper.is_installed() else None
    found = []
    with SpeechServer(latency_s=0) as server:
        speech = Speech(server.base_url)
        for number, case in enumerate(all_cases := cases(), 1):
            answers = Answers(case)
            clip = speech.clip(case.text, case.language)
            answers.named[LIKENESS] = nearest(clip, speech.renderings(case.text))
            if whisper:
                heard_as(answers, whisper.languages(clip))
            found.append(answers)
            if number % 20 == 0:
                console.print(f"{number} of {len(all_cases)} clips")
    return found


def nearest(clip: Sound, renderings: Mapping[str, Sound]) -> str | None:
    """The language whose rendering the clip resembles."""
    apart = {language: distance(clip, sound) for language, sound in renderings.items()}
    near, far = sorted(apart, key=lambda language: apart[language])
    return near if apart[near] <= (1 - APART) * apart[far] else None


def heard_as(answers: Answers, languages: Mapping[str, float]) -> None:
    """Take down what Whisper heard."""
    answers.first_guess = next(iter(languages))
    answers.french_share = languages["fr"] / (languages["en"] + languages["fr"])
    answers.named[WHISPER] = surely(answers.french_share)


def surely(french_share: float) -> str | None:
    if french_share >= SURE:
        return "fr"
    return "en" if french_share <= 1 - SURE else None


def report(found: Sequence[Answers]) -> Iterator[str]:
    """bench/LANGUAGE.md, line by line."""
    has_whisper = WHISPER in found[0].named
    recognisers = [*([WHISPER] if has_whisper else []), LIKENESS]
    yield from (
        "# What can be told of a clip's language", "",
        f"By `make language` on {datetime.now(UTC).date().isoformat()}: {machine()}.",
        f"{len(found)} clips of the local voice (SVOX Pico), asked for and published as the",
        "worker does. An answer counts from a share of"
        f" {SURE:g} of Whisper's two probabilities, and from",
        f"{APART:.0%} nearer by likeness; else it is undecided.", "",
    )  # fmt: skip
    if not has_whisper:
        yield from ("**Whisper wasn't installed: likeness alone was measured.**", "")
    yield from _summary(found, recognisers)
    yield from _verdict(found, has_whisper)
    yield from _each_homograph(found)


def _summary(found: Sequence[Answers], recognisers: Sequence[str]) -> Iterator[str]:
    outcomes = ("right", "wrong", "undecided")
    heads = [f"{name}: {outcome}" for name in recognisers for outcome in outcomes]
    yield f"| clips | spoken in | n | {' | '.join(heads)} |"
    yield "|---|---|--:|" + "--:|" * len(heads)
    for kind in (HOMOGRAPH, WORD, SENTENCE, CROSSED):
        for language, name in LANGUAGES.items():
            some = _some(found, kind, language)
            counts = [
                str(count(some, recogniser, outcome))
                for recogniser in recognisers
                for outcome in outcomes
            ]
            yield f"| {kind} | {name} | {len(some)} | {' | '.join(counts)} |"
    yield ""


def _some(found: Sequence[Answers], kind: str, language: str) -> list[Answers]:
    return [each for each in found if (each.case.kind, each.case.language) == (kind, language)]


def count(some: Sequence[Answers], recogniser: str, outcome: str) -> int:
    return sum(each.outcome(recogniser) == outcome for each in some)


def _verdict(found: Sequence[Answers], has_whisper: bool) -> Iterator[str]:
    def told(recogniser: str, kind: str, language: str) -> str:
        some = _some(found, kind, language)
        return f"{count(some, recogniser, 'right')} of {len(some)}"

    yield from ("## In plain words", "")
    if has_whisper:
        yield from (
            f"- **Whisper** names the language of {told(WHISPER, SENTENCE, 'en')} sentences in"
            f" English and {told(WHISPER, SENTENCE, 'fr')} in",
            f"  French; of {told(WHISPER, HOMOGRAPH, 'en')} homographs in English but"
            f" {told(WHISPER, HOMOGRAPH, 'fr')} in French, and of",
            f"  {told(WHISPER, WORD, 'fr')} plain words in French. It takes one word for English"
            " unless it is sure, so its",
            "  “right” for one English word is worth little. It can look at real sentences.",
            *_shares(found),
        )
    yield from (
        f"- **Likeness** is right for {told(LIKENESS, HOMOGRAPH, 'en')} homographs in English and"
        f" {told(LIKENESS, HOMOGRAPH, 'fr')} in French, but it",
        "  is circular: it compares with what the same engine says in either language (another",
        "  voice of it). It proves that the server was asked for the right language and that no",
        "  clip was mixed up. It says nothing about a voice it can't render: between two",
        "  engines it is at chance (117 to 127 of 216, measured once with another engine).",
        "- **So** nothing here proves that OpenAI's voice says “chat” as a Frenchman would. What",
        "  the worker can do is ask for the language by name with every clip, which it does; what",
        "  remains is to listen: `memolist-tts listen`.",
        "- A plain word of the other language, read as if it were of this one, is what a clip in",
        "  the wrong language would be.",
        "",
    )  # fmt: skip


def _shares(found: Sequence[Answers]) -> Iterator[str]:
    """What a threshold could do that somebody chose for this very voice."""

    def shares(language: str, *kinds: str) -> list[float]:
        some = [each for kind in kinds for each in _some(found, kind, language)]
        return [each.french_share for each in some if each.french_share is not None]

    one_word = (HOMOGRAPH, WORD, CROSSED)
    highest = max(shares("en", *one_word))
    above = sum(share > highest for share in shares("fr", *one_word))
    english, french = shares("en", HOMOGRAPH), shares("fr", HOMOGRAPH)
    more = sum(each > other for each, other in zip(french, english, strict=True))
    yield from (
        f"- It does hear a difference: its share for French is higher in {more} of {len(french)}"
        " homographs where they are",
        f"  spoken in French. No English word of this voice has more than {highest:.2f}, and"
        f" {above} of {len(shares('fr', *one_word))} French ones",
        "  have; but such a bound is this voice's own: for another it would have to be found on",
        "  clips that somebody has listened to.",
    )


def _each_homograph(found: Sequence[Answers]) -> Iterator[str]:
    yield from (
        "## Each homograph", "",
        "Whisper's share for French of its two probabilities, its first guess of 99 languages,",
        "and the language by likeness; spoken in English, then in French.", "",
        "| word | en: French | first | likeness | fr: French | first | likeness |",
        "|---|--:|---|---|--:|---|---|",
    )  # fmt: skip
    spoken_in = [_some(found, HOMOGRAPH, language) for language in LANGUAGES]
    for both in zip(*spoken_in, strict=True):
        cells = [cell for each in both for cell in _cells(each)]
        yield f"| {both[0].case.text} | {' | '.join(cells)} |"
    yield ""


def _cells(each: Answers) -> tuple[str, str, str]:
    share = "" if each.french_share is None else f"{each.french_share:.2f}"
    return share, each.first_guess, each.named[LIKENESS] or "?"


def look_at(folder: Path, console: Console) -> int:
    """What Whisper hears in clips that lie in folders called by their languages."""
    if not Whisper.is_installed():
        console.print("Whisper isn't installed, and nothing else knows an unknown voice.")
        return 1
    files = sorted(folder.glob("*/*.mp3"))
    if not files:
        console.print(f"{folder}: no clips. They lie as en/….mp3 and fr/….mp3.")
        return 1
    whisper = Whisper()
    for file in files:
        guesses = list(whisper.languages(heard(file.read_bytes())).items())[:3]
        mark = " " if guesses[0][0] == file.parent.name else "?"
        told = ", ".join(f"{language} {share:.2f}" for language, share in guesses)
        console.print(f"{mark} {file.relative_to(folder)}: {told}")
    console.print("A “?” on a sentence is worth listening to; on one word it says nothing.")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.language", description=__doc__)
    parser.add_argument("clips", nargs="?", type=Path, help="a folder of real clips to look at")
    folder: Path | None = parser.parse_args().clips
    console = Console(highlight=False)
    if folder:
        return look_at(folder, console)
    text = "\n".join(report(listen(console)))
    console.print(text)
    RESULTS.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
