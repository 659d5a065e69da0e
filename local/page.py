"""A page to hear a deck on: one file, nothing loaded from elsewhere, the clips beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

LANGUAGES = {"en": "English", "fr": "French"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One utterance as the page shows it."""

    language: str
    """ISO 639-1."""
    text: str
    """What is spoken."""
    shown_text: str
    """What the card says; printed too where it differs."""
    duration_s: float
    path: str
    """Of the MP3 file, relative to the page."""


def write_page(path: Path, title: str, cards: Iterable[Sequence[Clip]]) -> None:
    """Write the page to `path`, with a player for each clip of each card."""
    path.write_text(page(title, cards), encoding="utf-8")


def page(title: str, cards: Iterable[Sequence[Clip]]) -> str:
    """The page's HTML."""
    items = [_card(number, clips) for number, clips in enumerate(cards, start=1)]
    return _PAGE.format(
        title=escape(title),
        count=len(items),
        style=_STYLE,
        script=_SCRIPT,
        cards="\n".join(items),
    )


def _card(number: int, clips: Sequence[Clip]) -> str:
    rows = "\n".join(_row(clip) for clip in clips)
    return f'<li aria-label="Card {number}">\n{rows}\n</li>'


def _row(clip: Clip) -> str:
    language = LANGUAGES.get(clip.language, clip.language)
    label = escape(f"{language}: {clip.text}")
    shown = ""
    if clip.shown_text != clip.text:
        shown = f'<small>on the card: <code translate="no">{escape(clip.shown_text)}</code></small>'
    return (
        f'<div class="clip"><abbr title="{escape(language)}">{escape(clip.language)}</abbr>'
        f'<p lang="{escape(clip.language)}">{escape(clip.text)}{shown}</p>'
        f"<time>{clip.duration_s:.1f} s</time>"
        f'<audio controls preload="none" src="{escape(quote(clip.path))}" '
        f'aria-label="{label}"></audio></div>'
    )


_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6675; --paper: #f6f4ef;
  --card: #fff; --line: #e2ded4; --accent: #2f5d50; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eceae4; --soft: #a3adba; --paper: #16191e; --card: #1f242b;
    --line: #323943; --accent: #8fcbb8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 54rem; padding: 2.5rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); font: 1.0625rem/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; letter-spacing: -.01em; }
header p { margin: .4rem 0 1.2rem; color: var(--soft); }
button { padding: .65rem 1.3rem; border: 0; border-radius: 99rem; font: inherit;
  font-weight: 600; color: var(--paper); background: var(--accent); cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; }
ol { display: grid; gap: .8rem; margin: 1.8rem 0; padding: 0; list-style: none; }
li { padding: .4rem 1.1rem; border: 1px solid var(--line); border-radius: .9rem;
  background: var(--card); }
.clip { display: grid; grid-template-columns: 2rem 1fr auto 17rem; gap: .3rem 1rem;
  align-items: center; padding: .5rem 0; }
.clip + .clip { border-top: 1px dashed var(--line); }
.clip.on p { color: var(--accent); font-weight: 600; }
.clip p { margin: 0; overflow-wrap: anywhere; }
abbr { color: var(--soft); font-size: .78rem; font-weight: 600; text-transform: uppercase;
  text-decoration: none; letter-spacing: .06em; }
small { display: block; color: var(--soft); font-weight: 400; }
time { color: var(--soft); font-size: .85rem; font-variant-numeric: tabular-nums; }
audio { width: 100%; height: 2.4rem; }
footer { color: var(--soft); font-size: .9rem; }
@media (max-width: 40rem) { .clip { grid-template-columns: 2rem 1fr auto; }
  audio { grid-column: 1 / -1; } }
""".strip()

_SCRIPT = """
const players = [...document.querySelectorAll("audio")];
const button = document.querySelector("button");
let whole = false;
const say = () => { button.textContent = whole ? "Stop" : "Play the whole deck"; };
button.onclick = () => {
  whole = !whole;
  players.forEach((player) => player.pause());
  if (whole) { players[0].currentTime = 0; players[0].play(); }
  say();
};
players.forEach((player, index) => {
  const clip = player.closest(".clip");
  player.onplay = () => {
    players.forEach((other) => { if (other !== player) other.pause(); });
    clip.classList.add("on");
    if (whole) clip.scrollIntoView({ block: "nearest" });
  };
  player.onpause = () => clip.classList.remove("on");
  player.onended = () => {
    const next = players[index + 1];
    if (whole && next) { next.currentTime = 0; next.play(); } else { whole = false; say(); }
  };
});
say();
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
<p>{count} cards. The voices are synthetic: this speech was generated by AI, and nobody
said it.</p>
<button type="button">Play the whole deck</button>
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
