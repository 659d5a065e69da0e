"""What speech costs. OpenAI's list prices (platform.openai.com/docs/pricing, 2026-11)."""

from __future__ import annotations

USD_PER_MILLION_CHARACTERS = {"tts-1": 15.0, "tts-1-hd": 30.0}
USD_PER_MINUTE = {"gpt-4o-mini-tts": 0.015}
USD_PER_MILLION_AUDIO_TOKENS = {
    "gpt-audio": 64.0,
    "gpt-realtime": 64.0,
    "gpt-realtime-2.1-mini": 20.0,
}


def cost_usd(
    model: str, *, characters: int, duration_ms: int, output_tokens: int | None
) -> float | None:
    """An estimate for one take; None for a model whose price isn't known here."""
    if (per_million := _longest_prefix(USD_PER_MILLION_CHARACTERS, model)) is not None:
        return characters * per_million / 1e6
    if (per_minute := _longest_prefix(USD_PER_MINUTE, model)) is not None:
        return duration_ms / 60_000 * per_minute
    per_token = _longest_prefix(USD_PER_MILLION_AUDIO_TOKENS, model)
    if per_token is not None and output_tokens is not None:
        return output_tokens * per_token / 1e6
    return None


def _longest_prefix(prices: dict[str, float], model: str) -> float | None:
    names = [name for name in prices if model == name or model.startswith(f"{name}-")]
    return prices[max(names, key=len)] if names else None
