"""A page to hear a deck on: one file, nothing loaded from elsewhere, the clips beside it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

LANGUAGES = {"en": "English", "fr": "French"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One card in one language, as the page shows it."""

    language: str
    """ISO 639-1."""
    text: str
    """What is spoken; blank where nothing is."""
    shown_text: str
    """What the card says; printed too where other words are spoken."""
    duration_s: float = 0.0
    path: str = ""
    """Of the MP3 file, relative to the page; blank where there is none."""
    reason: str = ""
    """Why there is no clip, for a person."""


Cards = Mapping[int, Sequence[Entry]]
"""Each card's entries by its number in the deck."""


def write_page(path: Path, title: str, voice: str, cards: Cards) -> None:
    """Write the page to `path`; see `page`."""
    path.write_text(page(title, voice, cards), encoding="utf-8")


def page(title: str, voice: str, cards: Cards) -> str:
    """The page's HTML: a button for each clip, a reason where there is none.

    `voice` is a sentence that says whose the voice is; that it is AI is said besides.
    """
    entries = [entry for each in cards.values() for entry in each]
    silent = sum(not entry.path for entry in entries)
    note = ""
    if silent:
        verb = "wasn't" if silent == 1 else "weren't"
        note = f"<p>{counted(silent, 'phrase')} {verb} spoken; the reason stands beside it.</p>"
    count = counted(len(cards), "card")
    return _PAGE.format(
        title=escape(title),
        count="" if count in title else f"{count}. ",
        voice=escape(voice),
        note=note,
        whole=_WHOLE if silent < len(entries) else "",
        style=_STYLE,
        script=_SCRIPT,
        cards="\n".join(_card(number, each) for number, each in cards.items()),
    )


def counted(number: int, noun: str) -> str:
    """ "1 card", "2 cards"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _card(number: int, entries: Sequence[Entry]) -> str:
    rows = "\n".join(_spoken(entry) if entry.path else _silent(entry) for entry in entries)
    return f'<li aria-label="Card {number}"><b aria-hidden="true">{number}</b>\n{rows}\n</li>'


def _spoken(entry: Entry) -> str:
    shown = ""
    if _words(entry.shown_text) != _words(entry.text):
        shown = f"<small>on the card: {_code(entry.shown_text)}</small>"
    name = escape(f"{_language(entry)}: {entry.text}")
    return (
        f'<div class="clip"><button type="button" aria-label="Play {name}">{_ICON}</button>'
        f"{_tag(entry)}{_paragraph(entry, escape(entry.text) + shown)}"
        f"<time>{entry.duration_s:.1f} s</time>"
        f'<audio preload="none" src="{escape(quote(entry.path))}"></audio></div>'
    )


def _silent(entry: Entry) -> str:
    text = escape(entry.text) if entry.text else _code(entry.shown_text)
    reason = escape(entry.reason or "Not spoken.")
    body = f'{text}<small lang="en">{reason}</small>'
    dash = '<i aria-hidden="true">–</i>'
    return f'<div class="silent">{dash}{_tag(entry)}{_paragraph(entry, body)}</div>'


def _language(entry: Entry) -> str:
    return LANGUAGES.get(entry.language, entry.language)


def _tag(entry: Entry) -> str:
    return f'<abbr title="{escape(_language(entry))}">{escape(entry.language)}</abbr>'


def _paragraph(entry: Entry, body: str) -> str:
    return f'<p lang="{escape(entry.language)}">{body}</p>'


def _code(text: str) -> str:
    return f'<code translate="no">{escape(text)}</code>'


def _words(text: str) -> str:
    """A text without its white space and punctuation: all that differs is heard."""
    plain = unicodedata.normalize("NFC", text)
    return "".join(c for c in plain if unicodedata.category(c)[0] not in "PZC")


_WHOLE = '<button type="button" id="whole">Play the whole deck</button>'
_ICON = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path class="play" d="M8 5.5v13l11-6.5z"/>'
    '<path class="pause" d="M7 5.5h3.5v13H7zM13.5 5.5H17v13h-3.5z"/></svg>'
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6675; --paper: #f6f4ef;
  --card: #fff; --line: #e2ded4; --accent: #2f5d50; --tint: #e6efeb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eceae4; --soft: #a3adba; --paper: #16191e; --card: #1f242b;
    --line: #323943; --accent: #8fcbb8; --tint: #2a3a37; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 2.5rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); font: 1.0625rem/1.45 system-ui, sans-serif; }
h1 { margin: 0 0 .4rem; font-size: 1.9rem; line-height: 1.2; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
header p { margin: .2rem 0; max-width: 46rem; color: var(--soft); }
button { border: 0; font: inherit; font-weight: 600; cursor: pointer; }
#whole { margin-top: 1rem; padding: .65rem 1.3rem; border-radius: 99rem; color: var(--paper);
  background: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
ol { display: grid; gap: .6rem; margin: 1.6rem 0; padding: 0; list-style: none; }
li { display: grid; grid-template-columns: 2rem 1fr; column-gap: .6rem; padding: .35rem .9rem;
  border: 1px solid var(--line); border-radius: .9rem; background: var(--card); }
li > b { grid-row: span 2; padding-top: .95rem; color: var(--soft); font-size: .85rem;
  font-variant-numeric: tabular-nums; }
li > div { grid-column: 2; display: grid; grid-template-columns: 2.5rem 1.5rem 1fr auto;
  gap: .2rem .7rem; align-items: center; min-width: 0; padding: .3rem 0; }
.clip button { display: grid; place-items: center; width: 2.5rem; height: 2.5rem; padding: 0;
  border-radius: 50%; color: var(--accent); background: var(--tint); }
.clip.on button, .clip button:hover { color: var(--card); background: var(--accent); }
svg { width: 1.35rem; fill: currentColor; }
.pause, .on .play { display: none; }
.on .pause { display: inline; }
.clip.on p { color: var(--accent); }
p { margin: 0; overflow-wrap: anywhere; }
.silent p, .silent i { color: var(--soft); font-style: normal; }
.silent i { justify-self: center; }
.silent p { grid-column: 3 / -1; }
abbr { color: var(--soft); font-size: .75rem; font-weight: 600; text-transform: uppercase;
  text-decoration: none; letter-spacing: .06em; }
small { display: block; color: var(--soft); font-weight: 400; }
time { color: var(--soft); font-size: .85rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
footer { color: var(--soft); font-size: .9rem; }
@media (min-width: 54rem) { li { grid-template-columns: 1.4rem 1fr 1fr; column-gap: 2rem; }
  li > b { grid-row: 1; align-self: center; padding: 0; } li > div { grid-column: auto; } }
@media (max-width: 30rem) { body { padding: 1.5rem .75rem 3rem; }
  li { grid-template-columns: 1.4rem 1fr; padding: .2rem .7rem; column-gap: .3rem; }
  li > div { grid-template-columns: 2.5rem 1fr auto; } abbr { display: none; }
  .silent p { grid-column: 2 / -1; } }
""".strip()

_SCRIPT = """
const clips = [...document.querySelectorAll(".clip")].map((box) => ({
  box, button: box.querySelector("button"), player: box.querySelector("audio") }));
const button = document.querySelector("#whole");
let whole = false;
const set = (on) => {
  whole = on;
  if (button) button.textContent = whole ? "Stop" : "Play the whole deck";
};
const silence = (player) => clips.forEach((other) => {
  if (other.player !== player) other.player.pause(); });
const start = ({ player }) => {
  player.currentTime = 0;
  player.play().catch(() => {});  // its error event tells, and a pause is no error
};
const turn = (clip, on) => {
  clip.box.classList.toggle("on", on);
  const name = clip.button.getAttribute("aria-label").replace(/^\\S+/, on ? "Pause" : "Play");
  clip.button.setAttribute("aria-label", name);
};
if (button) button.onclick = () => {
  set(!whole);
  silence();
  if (whole) start(clips[0]);
};
clips.forEach((clip, index) => {
  const { box, player } = clip;
  const next = () => {
    turn(clip, false);
    if (whole && clips[index + 1]) start(clips[index + 1]); else set(false);
  };
  clip.button.onclick = () => {
    set(false);
    if (player.paused) player.play().catch(() => {}); else player.pause();
  };
  player.onplay = () => {
    silence(player);
    turn(clip, true);
    if (whole) box.scrollIntoView({ block: "nearest" });
  };
  player.onpause = () => turn(clip, false);
  player.onended = next;
  player.onerror = () => { box.querySelector("time").textContent = "not found"; next(); };
});
""".strip()

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{count}{voice} It is synthetic: this speech was generated by AI, and nobody said it.</p>
{note}
{whole}
</header>
<main>
<ol>
{cards}
</ol>
</main>
<footer>Each clip is an MP3 file beside this page; it plays without a network.</footer>
<script>
{script}
</script>
</body>
</html>
"""
