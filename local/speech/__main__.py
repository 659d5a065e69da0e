"""python -m local.speech: the server on its own, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import threading
from datetime import date
from pathlib import Path
from typing import Any

from local.speech.faults import FAULTS
from local.speech.server import SpeechServer


def main() -> None:
    options = _options()
    if options.pop("list_faults"):
        for name, text in FAULTS.items():
            print(f"{name:36} {text}")
        return
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with SpeechServer(**options) as server:
        print(f"speech server: {server.base_url}", flush=True)
        over.wait()


def _options() -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="local.speech", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 (default): any free one, printed at the start")
    add("--api-key", help="the one key accepted; else any")
    add("--latency-s", type=float, default=0.02, help="least time to an answer (default 0.02)")
    add("--requests-per-minute", type=float, default=10_000)
    add("--burst-s", type=float, default=60.0, help="seconds' requests that may come at once")
    add("--tokens-per-minute", type=float, default=2_000_000)
    add("--today", type=date.fromisoformat, help="the day the server lives in, YYYY-MM-DD")
    add("--default-language", default="en", help="where neither instructions nor text tell")
    add("--uneven", dest="is_uneven", action="store_true", help="loudness differs as in life")
    add(
        "--charges",
        dest="charges_path",
        type=Path,
        metavar="FILE",
        help="add a JSON line for every charge",
    )
    add("--list-faults", action="store_true", help="print the faults it can commit, and stop")
    return vars(parser.parse_args())


if __name__ == "__main__":
    main()
