"""What speech costs: a model's list price, applied to what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

AUDIO_TOKENS_A_SECOND = 20
"""Of a model that talks: one for each 50 ms (developers.openai.com, realtime costs guide)."""
CHARACTERS_A_TOKEN = 4
"""Of text: OpenAI's rule of thumb (help.openai.com, what are tokens)."""
VERBATIM_CHARACTERS = 373
"""The demand to read verbatim, which comes before the instructions of each request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens billed for one answer, as the provider tells."""

    audio_out: int
    text_in: int = 0
    text_out: int = 0


def guess(pieces: Sequence[int], instructions: int, seconds: float) -> Usage:
    """What is likely to be billed for texts of so many characters, read in `seconds`.

    Each is a request, with the instructions (their characters) in it. A model that
    talks bills what it says as text, too.
    """
    told = VERBATIM_CHARACTERS + instructions
    return Usage(
        audio_out=round(seconds * AUDIO_TOKENS_A_SECOND),
        text_in=sum(ceil((told + piece) / CHARACTERS_A_TOKEN) for piece in pieces),
        text_out=sum(ceil(piece / CHARACTERS_A_TOKEN) for piece in pieces),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars; a model is billed by one of characters, minutes and tokens."""

    per_million_characters: float | None = None
    per_minute: float | None = None
    per_million_audio_tokens: float | None = None
    per_million_text_tokens_in: float = 0.0
    per_million_text_tokens_out: float = 0.0

    def usd(self, *, characters: int, duration_ms: int, usage: Usage | None) -> float | None:
        """For one take: from the tokens that the provider told, else by its length.

        `characters` are those of the text, without instructions.
        """
        if self.per_million_characters is not None:
            return characters * self.per_million_characters / 1e6
        if self.per_minute is not None:
            return duration_ms / 60_000 * self.per_minute
        if self.per_million_audio_tokens is None:
            return None
        if usage is None:
            return duration_ms / 1000 * AUDIO_TOKENS_A_SECOND * self.per_million_audio_tokens / 1e6
        return (
            usage.audio_out * self.per_million_audio_tokens
            + usage.text_in * self.per_million_text_tokens_in
            + usage.text_out * self.per_million_text_tokens_out
        ) / 1e6
