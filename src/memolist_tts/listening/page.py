"""The listening page's HTML: pure, from what is known of each utterance and its clips' bytes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template

from memolist_tts.core.counting import counted

_FILES = Path(__file__).parent
NAMES = {"de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian"}
SCHEMES = ("https", "http", "file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """A recording as the page plays it."""

    mp3: bytes = field(repr=False)
    said: str = ""
    """Empty where nobody knows."""
    seconds: float
    """0.0 where it can't be decoded; the level is of no use then."""
    level_dbfs: float
    voice: str = ""
    take: int | None = None
    """None for one that we didn't make."""
    fault: str = ""
    """What the judgement has against it, in words; empty for a sound clip."""


@dataclass(frozen=True, slots=True)
class Link:
    """A recording that the page doesn't hold."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One card in one language."""

    card_id: str
    language: str
    shown: str
    said: str
    """What its audio says or, where there is none, would say; empty where nobody knows."""
    state: str
    """With audio `spoken`, `gone`, `inherited` (under our address, not by us) or `foreign`;
    without `failed`, `skipped` or `missing`."""
    code: str = ""
    reason: str = ""
    now: Take | Link | None = None
    before: Take | Link | None = None
    """The recording that a retake replaced."""


def page(title: str, utterances: Sequence[Utterance]) -> str:
    """One self-contained HTML document; clips are in it, it loads nothing from elsewhere."""
    cards: dict[str, list[Utterance]] = {}
    for each in utterances:
        cards.setdefault(each.card_id, []).append(each)
    heard = sum(isinstance(each.now, Take) for each in utterances)
    return Template(_read("page.html")).substitute(
        title=escape(title),
        summary=f"{counted(len(cards), 'card')}, {heard} of "
        f"{counted(len(utterances), 'utterance')} to hear.",
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
    language = NAMES.get(each.language, each.language)
    name = f"card {number}, {language}"
    parts = [
        f'<p class="said" lang="{escape(each.language)}">{escape(each.said or each.shown)}</p>',
        _shown(each),
        _takes(each, name),
        _why(each),
        _flag(name) if each.state != "foreign" else "",
    ]
    data = f'data-card="{escape(each.card_id)}" data-language="{escape(each.language)}"'
    data += f' data-state="{escape(each.state)}" data-code="{escape(each.code)}"'
    label = f'<abbr title="{escape(language)}">{escape(each.language)}</abbr>'
    group = f'role="group" tabindex="-1" aria-label="{escape(name)}"'
    row = f'<div class="utterance {escape(each.state)}" {group} {data}>'
    return f"{row}{label}\n{''.join(parts)}\n</div>"


def _shown(each: Utterance) -> str:
    if not each.said or each.said == each.shown:
        return ""
    return f'<p class="note">shows <code translate="no">{escape(each.shown)}</code></p>'


def _takes(each: Utterance, name: str) -> str:
    """The new recording, and beside it the one that it replaced."""
    now, before = each.now, each.before
    # Takes are numbered by what is said and how: of two alike the number tells nothing.
    is_numbered = _number(now) != _number(before)
    found = []
    if now is not None:
        told = escape(("new: " if before else "") + _told(now, is_numbered=is_numbered))
        found.append(_recording(now, "new", name, told))
    if before is not None:
        told = escape("old: " + _told(before, is_numbered=is_numbered))
        if isinstance(before, Take) and before.said not in ("", each.said):
            told += f'says <q lang="{escape(each.language)}">{escape(before.said)}</q>, '
        found.append(_recording(before, "old", f"the old take of {name}", told))
    return f'<div class="takes">{"".join(found)}</div>' if found else ""


def _number(recording: Take | Link | None) -> int | None:
    return recording.take if isinstance(recording, Take) else None


def _told(recording: Take | Link, *, is_numbered: bool) -> str:
    """What is known of a recording, each followed by a comma."""
    if isinstance(recording, Link):
        return ""
    told = []
    if recording.seconds:
        level = f"{recording.level_dbfs:.0f} dBFS".replace("-", "−")
        told += [f"{recording.seconds:.1f} s", level]
    if recording.voice:
        told.append(recording.voice)
    if is_numbered and recording.take is not None:
        told.append(f"take {recording.take}")
    return "".join(f"{each}, " for each in told)


def _recording(recording: Take | Link, kind: str, name: str, told: str) -> str:
    """`told` is HTML."""
    if isinstance(recording, Link):
        link = _link(recording.url, name)
        return f'<p class="take {kind}"><span>{told}{link}, not in this page</span></p>'
    source = b64encode(recording.mp3).decode()
    fault = f'<span class="fault">{escape(recording.fault)}</span>'
    return (
        f'<p class="take {kind}"><button type="button" aria-label="Play {escape(name)}" '
        f'data-mp3="{source}"><span aria-hidden="true">▶</span></button>'
        f"<span>{told}{fault if recording.fault else 'sound'}</span></p>"
    )


def _link(url: str, name: str) -> str:
    """A card may hold anything: what isn't the address of a recording must not run."""
    if url.partition(":")[0].lower() not in SCHEMES:
        return f"<code>{escape(url)}</code>"
    label = f'aria-label="Recording of {escape(name)}"'
    return f'<a href="{escape(url)}" target="_blank" rel="noreferrer" {label}>recording</a>'


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
