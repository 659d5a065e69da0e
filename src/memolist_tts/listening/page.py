"""The listening page's HTML: pure, from what is known of each utterance and its clips' bytes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template

_FILES = Path(__file__).parent
NAMES = {"de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """A recording as the page plays it."""

    mp3: bytes = field(repr=False)
    seconds: float
    level_dbfs: float
    voice: str
    take: int
    fault: str = ""
    """What the judgement has against it, in words; empty for a sound clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One card in one language."""

    card_id: str
    language: str
    shown: str
    said: str
    """What a voice is given to read; empty where nothing is."""
    state: str
    """`spoken`, `foreign`, `failed`, `skipped` or `missing`."""
    code: str = ""
    reason: str = ""
    now: Take | None = None
    before: Take | None = None
    """The recording that a retake replaced."""


def page(title: str, utterances: Sequence[Utterance]) -> str:
    """One self-contained HTML document; clips are in it, nothing is loaded from elsewhere."""
    cards: dict[str, list[Utterance]] = {}
    for each in utterances:
        cards.setdefault(each.card_id, []).append(each)
    heard = sum(each.now is not None for each in utterances)
    return Template(_read("page.html")).substitute(
        title=escape(title),
        summary=f"{len(cards)} cards, {heard} of {len(utterances)} utterances to hear.",
        style=_read("page.css"),
        script=_read("page.js"),
        states=_options("state", [each.state for each in utterances]),
        codes=_options("code", [each.code for each in utterances if each.code]),
        cards="\n".join(_card(number, each) for number, each in enumerate(cards.values(), 1)),
    )


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8").strip()


def _options(what: str, values: Sequence[str]) -> str:
    counted: Mapping[str, int] = {value: values.count(value) for value in sorted(set(values))}
    every = f'<option value="">every {what}</option>'
    return every + "".join(
        f'<option value="{escape(value)}">{escape(value)} ({count})</option>'
        for value, count in counted.items()
    )


def _card(number: int, utterances: Sequence[Utterance]) -> str:
    rows = "\n".join(_row(number, each) for each in utterances)
    return f"<li><h2>Card {number} <code>{escape(utterances[0].card_id)}</code></h2>\n{rows}\n</li>"


def _row(number: int, each: Utterance) -> str:
    name = f"card {number}, {NAMES.get(each.language, each.language)}"
    parts = [
        f'<p class="said" lang="{escape(each.language)}">{escape(each.said or each.shown)}</p>',
        _shown(each),
        _take(each.now, "Play", name) if each.now else "",
        _take(each.before, "Play the old take of", name) if each.before else "",
        _why(each),
        _flag(name) if each.state != "foreign" else "",
    ]
    data = f'data-card="{escape(each.card_id)}" data-language="{escape(each.language)}"'
    data += f' data-state="{escape(each.state)}" data-code="{escape(each.code)}"'
    label = f'<abbr title="{escape(NAMES.get(each.language, each.language))}">'
    label += f"{escape(each.language)}</abbr>"
    return f'<div class="utterance {escape(each.state)}" {data}>{label}\n{"".join(parts)}\n</div>'


def _shown(each: Utterance) -> str:
    if not each.said or each.said == each.shown:
        return ""
    return f'<p class="note">shows <code translate="no">{escape(each.shown)}</code></p>'


def _take(take: Take, verb: str, name: str) -> str:
    source = b64encode(take.mp3).decode()
    level = f"{take.level_dbfs:.0f} dBFS".replace("-", "−")
    told = f"{take.seconds:.1f} s, {level}, {take.voice}, take {take.take}"
    kind = "old" if verb != "Play" else "new"
    fault = f'<span class="fault">{escape(take.fault)}</span>' if take.fault else ""
    return (
        f'<p class="take {kind}"><button type="button" aria-label="{escape(f"{verb} {name}")}">'
        f'<span aria-hidden="true">▶</span></button><span>{"old: " if kind == "old" else ""}'
        f"{escape(told)}</span>{fault}"
        f'<audio preload="none" src="data:audio/mpeg;base64,{source}"></audio></p>'
    )


def _why(each: Utterance) -> str:
    if not each.reason:
        return ""
    code = f"<b>{escape(each.code)}</b> " if each.code else ""
    return f'<p class="note">{code}{escape(each.reason)}</p>'


def _flag(name: str) -> str:
    return (
        f'<p class="flag"><label><input type="checkbox" aria-label="Retake {escape(name)}"> retake'
        '</label> <label class="say">and say <input type="text" '
        f'aria-label="Other words for {escape(name)}" placeholder="other words"></label></p>'
    )
