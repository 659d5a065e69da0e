"""An HTTP server that answers what it is told, and keeps what it was asked."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    """0 hangs up without a word."""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    missing_bytes: int = 0
    """How much less is sent than Content-Length promised before the connection is cut."""
    has_length: bool = True
    """If not, closing the connection looks like the end of the body."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedHttp:
    """Gives `answers` in their order, the last of them for ever. Use as a context."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = deque(answers)
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ScriptedHttp:
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_answer(self) -> Answer:
        return self._answers.popleft() if len(self._answers) > 1 else self._answers[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, dict(self.headers.items()), body)
                scripted.requests.append(request)
                self.send(scripted.next_answer())

            def send(self, answer: Answer) -> None:
                self.close_connection = True
                if not answer.status:
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Connection", "close")
                if answer.has_length:
                    size = len(answer.body) + answer.missing_bytes
                    self.send_header("Content-Length", str(size))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_args: object) -> None:
                """Tests don't print."""

            do_GET = do_PUT = do_POST = do_HEAD = handle_any

        return Handler
