"""The one client that all threads share, for OpenAI or any server that speaks its API."""

from __future__ import annotations

import httpx2
import openai

from memolist_tts.core.errors import KeyRefused

OPENAI_URL = "https://api.openai.com/v1"
CONNECT_S = 5.0
KEEPALIVE_S = 60.0


def open_client(
    api_key: str, *, base_url: str | None = None, max_in_flight: int, timeout_s: float = 20.0
) -> openai.OpenAI:
    """A client with its own connection pool and one TLS context; `.close()` it at the end.

    `base_url` None or blank is OpenAI; it is always handed over, since the client
    would fall for a blank OPENAI_BASE_URL. Raises `KeyRefused` for a key that no
    header can carry. It never retries: every attempt counts against the limit.
    """
    return openai.OpenAI(
        api_key=_sendable(api_key),
        base_url=(base_url or "").strip() or OPENAI_URL,
        max_retries=0,
        timeout=patience(timeout_s),
        http_client=openai.DefaultHttpx2Client(
            verify=httpx2.create_ssl_context(),
            # A full pool looks like a timeout, and a call abandoned at its
            # deadline still holds its connection: hence twice the flights.
            limits=httpx2.Limits(
                max_connections=2 * max_in_flight,
                max_keepalive_connections=max_in_flight,
                keepalive_expiry=KEEPALIVE_S,
            ),
        ),
    )


def patience(timeout_s: float) -> httpx2.Timeout:
    """`timeout_s` for each wait for bytes, and at most 5 s to connect."""
    return httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))


def _sendable(api_key: str) -> str:
    key = api_key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise KeyRefused(
            "The API key is empty or holds characters that can't be sent. "
            "Set OPENAI_API_KEY to the key as the provider shows it."
        )
    return key
