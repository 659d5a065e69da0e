"""Between ministack and the real runtime: what it invokes is run here, and answered.

ministack keeps what AWS does around a function (queue mapping, schedule, dead letters);
its own way of running code is left out.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from local.aws import Aws
from local.rie import Answer, Environment, Package, Tools, unpack

PROXY_URL = "MINISTACK_LAMBDA_PROXY_URL"
GRACE_S = 30.0
"""How much longer than a function's own timeout an answer is awaited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One run of a function, from its event to its end."""

    function_name: str
    event: Any
    answer: Answer


@dataclass
class Pool:
    """The environments of one function; each serves one invocation at a time."""

    package: Package
    tools: Tools
    idle: list[Environment] = field(default_factory=list)
    all: list[Environment] = field(default_factory=list)

    def invoke(self, event: bytes) -> Answer:
        with self._environment() as environment:
            return environment.invoke(event, self.package.timeout_s + GRACE_S)

    @contextlib.contextmanager
    def _environment(self) -> Iterator[Environment]:
        try:
            # The last one first, as Lambda does: the others may rest.
            environment = self.idle.pop()
        except IndexError:
            environment = Environment(self.package, self.tools)
            self.all.append(environment)
        yield environment
        self.idle.append(environment)

    def stop(self) -> None:
        if self.all:
            with ThreadPoolExecutor(len(self.all)) as at_once:
                list(at_once.map(Environment.stop, self.all))


class Bridge:
    """`with Bridge(aws, tools) as bridge:`, then deploy with `bridge.environment`.

    Every function so deployed runs in the real runtime, as it was deployed. Logs go to its
    group, and the metrics in them to CloudWatch.
    """

    def __init__(self, aws: Aws, tools: Tools) -> None:
        self._account, self._tools = aws.variables, tools
        self._lambdas, self._logs = aws.client("lambda"), aws.client("logs")
        self._cloudwatch = aws.client("cloudwatch")
        self._folder = tempfile.TemporaryDirectory(prefix="memolist-functions-")
        self._lock = threading.Lock()
        self._pools: dict[str, Pool] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.invocations: list[Invocation] = []
        """Those that have ended, in the order of their ends."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for pool in self._pools.values():
            pool.stop()
        self._folder.cleanup()

    @property
    def environment(self) -> dict[str, str | None]:
        """What `Aws.deploy` lays over a function's variables so that it runs here."""
        return {PROXY_URL: f"http://127.0.0.1:{self._server.server_port}/"}

    def of(self, function_name: str) -> list[Invocation]:
        """The invocations of one function that have ended."""
        return [each for each in self.invocations if each.function_name == function_name]

    def invoke(self, function_name: str, event: bytes) -> Answer:
        """Run a deployed function over an event in JSON, and keep what it wrote."""
        answer = self._pool(function_name).invoke(event)
        self._keep(function_name, answer.log)
        self.invocations.append(
            Invocation(function_name=function_name, event=json.loads(event), answer=answer)
        )
        return answer

    def package(self, function_name: str) -> Package:
        """A function as it is deployed, unpacked."""
        return self._pool(function_name).package

    def _pool(self, function_name: str) -> Pool:
        with self._lock:
            if function_name not in self._pools:
                package = self._fetched(function_name)
                self._pools[function_name] = Pool(package, self._tools)
            return self._pools[function_name]

    def _fetched(self, function_name: str) -> Package:
        function = self._lambdas.get_function(FunctionName=function_name)
        deployed = function["Configuration"]
        layer = self._lambdas.get_layer_version_by_arn(Arn=deployed["Layers"][0]["Arn"])["Content"]
        variables = deployed["Environment"]["Variables"]
        return Package(
            name=function_name,
            handler=deployed["Handler"],
            timeout_s=deployed["Timeout"],
            memory_mb=deployed["MemorySize"],
            variables={k: v for k, v in variables.items() if k != PROXY_URL} | self._account,
            code=self._unpacked(deployed["CodeSha256"], function["Code"]["Location"]),
            layer=self._unpacked(layer["CodeSha256"], layer["Location"]),
        )

    def _unpacked(self, sha256: str, url: str) -> Path:
        folder = Path(self._folder.name, sha256.replace("/", "_"))
        if not folder.exists():
            archive = folder.with_suffix(".zip")
            urllib.request.urlretrieve(url, archive)
            unpack(archive, folder)
        return folder

    def _keep(self, function_name: str, log: str) -> None:
        group, stream = f"/aws/lambda/{function_name}", f"{threading.get_ident()}"
        now_ms = int(time.time() * 1000)
        lines = [line for line in log.splitlines() if line]
        with contextlib.suppress(self._logs.exceptions.ResourceAlreadyExistsException):
            self._logs.create_log_stream(logGroupName=group, logStreamName=stream)
        self._logs.put_log_events(
            logGroupName=group,
            logStreamName=stream,
            logEvents=[{"timestamp": now_ms, "message": line} for line in lines],
        )
        for line in lines:
            self._measure(line)

    def _measure(self, line: str) -> None:
        for namespace, data in metric_data(line):
            self._cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)


def metric_data(line: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The metrics in a log line of CloudWatch's embedded format, as put_metric_data takes them."""
    if not line.startswith("{"):
        return
    blob = json.loads(line)
    for directive in blob.get("_aws", {}).get("CloudWatchMetrics", ()):
        yield (
            directive["Namespace"],
            [
                {
                    "MetricName": metric["Name"],
                    "Unit": metric["Unit"],
                    "Values": value if isinstance(value := blob[metric["Name"]], list) else [value],
                    "Dimensions": [{"Name": name, "Value": blob[name]} for name in names],
                }
                for metric in directive["Metrics"]
                for names in directive["Dimensions"]
            ],
        )


def _handler(bridge: Bridge) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = self.rfile.read(int(self.headers["Content-Length"]))
            answer = bridge.invoke(self.headers["X-Amzn-Lambda-Function-Name"], event)
            # To ministack, any other status than 2xx is the function's error.
            self.send_response(500 if answer.is_error else 200)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Into the functions' own logs, not to the terminal."""

    return Handler
