"""The servers of a measurement, in processes of their own: their time isn't the worker's."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from local.postgres import free_port


@contextmanager
def speech_process(*options: str) -> Iterator[str]:
    """A local speech server, answering at once unless told otherwise; its OPENAI_BASE_URL."""
    command = [sys.executable, "-m", "local.speech", "--port", "0", *options]
    if "--latency-s" not in options:
        command += ["--latency-s", "0"]
    with _child(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        yield child.stdout.readline().split()[-1]


@contextmanager
def s3_process() -> Iterator[str]:
    """S3 by moto; its endpoint."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with _child(command, **quiet):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _child(command: list[str], **streams: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, text=True, **streams) as child:  # type: ignore[call-overload]
        try:
            yield child
        finally:
            child.terminate()


def control(base_url: str, method: str, path: str, body: object = None) -> Any:
    """Ask the speech server's control plane."""
    request = urllib.request.Request(
        base_url.removesuffix("/v1") + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def wait_for(url: str, timeout_s: float = 30.0) -> None:
    """Block until something answers at `url`."""
    give_up = time.monotonic() + timeout_s
    while True:
        try:
            urllib.request.urlopen(url).close()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
