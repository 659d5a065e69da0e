"""How each language is asked for where the deployment says nothing of its own.

Always a positive instruction that names the language: one word ("chat", "pain") says
nothing of its language, and "no English accent" makes it worse (PROVIDER: Language of
one word). Part of the audio key, so no text of these may move.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

INSTRUCTIONS = {
    "en": "Read this aloud in English, clearly and naturally, like a native speaker.",
    "fr": "Lis ceci en français, clairement et naturellement, comme un locuteur natif.",
}
"""In the language itself, for the languages that the cards have."""


def instructions(code: str) -> str:
    """For a lower-case language code, such as `de`, `pt-br` or one that no table has."""
    return INSTRUCTIONS.get(code) or (
        f"Read this aloud in {_called(code)}, clearly and naturally, like a native speaker."
    )


def _called(code: str) -> str:
    name = _names().get(code)
    if name:
        return name
    # Of a variety the code itself is told too: CLDR's names of varieties come and go.
    wider = _names().get(re.split("[-_]", code)[0])
    return f'{wider} ("{code}")' if wider else f'the language with the code "{code}"'


@cache
def _names() -> dict[str, str]:
    """languages.toml, read once."""
    text = Path(__file__).with_name("languages.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
