"""The audio key: a clip's address, made of exactly what would be sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from memolist_tts.core.model import SpeechRequest

KEY_VERSION = "v1"


def audio_key(requests: Sequence[SpeechRequest]) -> str:
    """The content address of what `requests` would say, such as `v1-9f86…` (64 hex digits).

    Canonical JSON (sorted names, no spaces, UTF-8) under SHA-256. Every stored
    clip is found by this value: whatever would move it for unchanged requests
    is a new KEY_VERSION, and pays for every phrase again.
    """
    value = requests[0] if len(requests) == 1 else {"parts": list(requests)}
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{KEY_VERSION}-{hashlib.sha256(canonical.encode()).hexdigest()}"
