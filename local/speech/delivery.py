"""How an answer travels: whole, or as the fault at hand has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import web

from local.speech.exchange import DESK, exchange_of, log
from local.speech.faults import Fault, FaultBook

CHUNK_BYTES = 4096
_DRIP_GAP_S = 0.1

_MASQUERADES: dict[str, tuple[int, str | None, bytes]] = {
    "empty": (200, "audio/mpeg", b""),
    "no_content": (204, None, b""),
    "json": (
        200,
        "application/json",
        json.dumps({"error": {"message": "upstream failed", "code": None}}).encode(),
    ),
    "html": (200, "text/html", b"<!doctype html><title>502</title><h1>Bad gateway</h1>\n" * 40),
    "sse": (
        200,
        "text/event-stream",
        b'data: {"type":"speech.audio.delta","audio":"//PExAAAAANIAAAAAExB"}\n\n' * 20,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    body: bytes
    content_type: str
    chunked: bool


async def deliver(request: web.Request, answer: Answer, fault: Fault | None) -> web.StreamResponse:
    """Send `answer`, or commit a TRANSPORT or MASQUERADE fault on it."""
    if fault is None:
        return await _whole(request, answer)
    if fault.fault in _MASQUERADES:
        status, kind, body = _MASQUERADES[fault.fault]
        return web.Response(status=status, content_type=kind, body=body)
    match fault.fault:
        case "drop":
            return drop(request)
        case "cut" | "cut_length" | "cut_unframed":
            return await _cut(request, answer, fault)
        case "drip":
            return await _drip(request, answer, fault)
        case "stall":
            return await _stall(request, answer, fault)
        case _:
            await _tarry(request, fault, request.app[DESK].faults)
            return await _whole(request, answer)


def drop(request: web.Request) -> web.StreamResponse:
    """Close without a byte."""
    log(request, None)
    if request.transport:
        request.transport.abort()
    return web.Response()


async def _tarry(request: web.Request, fault: Fault, book: FaultBook) -> None:
    if fault.fault == "slow":
        await asyncio.sleep(fault.duration_s)
    if fault.fault == "hang":
        log(request, None)
        await asyncio.Event().wait()
    while fault.fault == "hold" and book.stands(fault):
        await asyncio.sleep(0.01)


async def _whole(request: web.Request, answer: Answer) -> web.StreamResponse:
    if not answer.chunked:
        return web.Response(body=answer.body, content_type=answer.content_type)
    response = web.StreamResponse(headers={"Content-Type": answer.content_type})
    response.enable_chunked_encoding()
    await response.prepare(request)
    for piece in _pieces(answer.body, CHUNK_BYTES):
        await response.write(piece)
    await response.write_eof()
    return response


async def _cut(request: web.Request, answer: Answer, fault: Fault) -> web.StreamResponse:
    """Part of the body, then a close; how it was framed decides what the client can know."""
    part = answer.body[: int(len(answer.body) * fault.at)]
    if fault.fault == "cut_unframed":
        return await _unframed(request, answer.content_type, part)
    response = await _started(request, answer, has_length=fault.fault == "cut_length")
    await response.write(part)
    if request.transport:
        request.transport.close()
    return response


async def _drip(request: web.Request, answer: Answer, fault: Fault) -> web.StreamResponse:
    response = await _started(request, answer, has_length=not answer.chunked)
    steps = max(1, int(fault.duration_s / _DRIP_GAP_S))
    for piece in _pieces(answer.body, max(1, len(answer.body) // steps)):
        await response.write(piece)
        await asyncio.sleep(_DRIP_GAP_S)
    await response.write_eof()
    return response


async def _stall(request: web.Request, answer: Answer, fault: Fault) -> web.StreamResponse:
    response = await _started(request, answer, has_length=not answer.chunked)
    await response.write(answer.body[: int(len(answer.body) * fault.at)])
    await asyncio.Event().wait()  # ends when the client goes, which cancels this
    return response


async def _started(request: web.Request, answer: Answer, *, has_length: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": answer.content_type})
    if has_length:
        response.content_length = len(answer.body)
    else:
        response.enable_chunked_encoding()
    await response.prepare(request)
    return response


async def _unframed(request: web.Request, content_type: str, part: bytes) -> web.StreamResponse:
    """By hand: the library always frames a body."""
    headers = {
        "Content-Type": content_type,
        "Connection": "close",
        **exchange_of(request).headers(),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    log(request, 200)
    if request.transport:
        request.transport.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + part)
        request.transport.close()
    return web.Response()


def _pieces(body: bytes, size_bytes: int) -> Iterator[bytes]:
    for start in range(0, len(body), size_bytes):
        yield body[start : start + size_bytes]
