"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from local.speech.catalogue import Model
from local.speech.exchange import DESK

_CREATED = 1_762_000_000


async def listed(request: web.Request) -> web.Response:
    models = request.app[DESK].open_models()
    return web.json_response({"object": "list", "data": [_shown(model) for model in models]})


async def one(request: web.Request) -> web.Response:
    return web.json_response(_shown(request.app[DESK].model(request.match_info["id"])))


def _shown(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": _CREATED,
        "owned_by": "system",
        "shutdown_date": model.shutdown.isoformat() if model.shutdown else None,
    }
