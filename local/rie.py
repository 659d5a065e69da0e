"""A function as Lambda runs it, without a container: AWS's client behind AWS's emulator.

The code lies at /var/task and its layer at /opt, both read-only, in a mount namespace of
its own: tracebacks and import order are Lambda's. Linux only. /opt and the rest of /var
are hidden, so the Python that runs it must not live there.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.child import Child
from local.postgres import free_port

START_TIMEOUT_S = 30.0
LOG_TIMEOUT_S = 2.0
ALL_BYTES = 1 << 30

# In the new namespace: a bare /var with the code in it, the layer over /opt.
MOUNT = """
mount -t tmpfs -o mode=755 tmpfs /var
mkdir /var/task
mount --bind "$1" /var/task && mount -o remount,ro,bind /var/task
mount --bind "$2" /opt && mount -o remount,ro,bind /opt
cd /var/task
shift 2
exec "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What stands for Lambda's own machinery."""

    emulator: Path
    """aws-lambda-rie, for this machine's processor."""
    python: Path
    """Of an environment that holds what Lambda's has, awslambdaric and boto3, and no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A deployed function, unpacked."""

    name: str
    handler: str
    timeout_s: int
    memory_mb: int
    variables: Mapping[str, str]
    code: Path
    layer: Path

    def environment(self) -> dict[str, str]:
        """The variables that Lambda sets, and the function's own; nothing of this process."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": "/opt/python",
            "LAMBDA_TASK_ROOT": "/var/task",
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(self.timeout_s),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            **self.variables,
        }

    def within(self, command: Sequence[str | Path]) -> list[str]:
        """`command`, run where the function's files are mounted."""
        whose = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        unshare = ["unshare", *whose, "--mount", "--propagation", "private"]
        paths = [str(self.code), str(self.layer)]
        return [*unshare, "sh", "-euc", MOUNT, "sh", *paths, *map(str, command)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one invocation."""

    body: bytes
    is_error: bool
    """The handler raised, was killed for its time, or its process ended."""
    log: str


class Environment:
    """One execution environment: one invocation at a time, kept warm between them.

    The emulator crashes at a second one, so its owner must not overlap them. Its first
    invocation pays for the imports out of its own time, which on AWS it doesn't.
    """

    def __init__(self, package: Package, tools: Tools) -> None:
        address = f"127.0.0.1:{free_port()}"
        self._url = f"http://{address}/2015-03-31/functions/function/invocations"
        self._read_bytes = 0
        emulator: list[str | Path] = [
            tools.emulator, "--log-level", "error",
            "--runtime-interface-emulator-address", address,
            "--runtime-api-address", f"127.0.0.1:{free_port()}",
            tools.python, "-m", "awslambdaric", package.handler,
        ]  # fmt: skip
        self._child = Child(
            [package.within(emulator)],
            folder=Path(tempfile.mkdtemp(prefix="memolist-lambda-")),
            environment=package.environment(),
        )
        self._wait_until_ready()

    def invoke(self, event: bytes, timeout_s: float) -> Answer:
        """Run the handler over an event in JSON; `timeout_s` must outlast the function's own."""
        request = urllib.request.Request(self._url, data=event, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                body, ended = answer.read(), False
        except urllib.error.HTTPError as error:
            body, ended = error.read(), True
        return Answer(body=body, is_error=ended or _tells_of_error(body), log=self._new_log(ended))

    def stop(self) -> None:
        self._child.stop()

    def _wait_until_ready(self) -> None:
        give_up = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            if self._child.ended or time.monotonic() > give_up:
                log = self._child.log()
                self._child.stop()
                raise RuntimeError(f"the runtime interface emulator did not start:\n{log}")
            time.sleep(0.01)

    def _listens(self) -> bool:
        try:
            urllib.request.urlopen(self._url.rsplit("/", 4)[0], timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _new_log(self, ended: bool) -> str:
        """What was written since the last call; the emulator's REPORT comes after the answer."""
        give_up = time.monotonic() + LOG_TIMEOUT_S
        while True:
            log = self._child.log(ALL_BYTES).encode()[self._read_bytes :].decode(errors="replace")
            # A process that ends by itself gets none.
            if ended or "REPORT RequestId" in log or time.monotonic() > give_up:
                self._read_bytes += len(log.encode())
                return log
            time.sleep(0.005)


def _tells_of_error(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except ValueError:
        # "Task timed out after 3.00 seconds", with status 200.
        return body.startswith(b"Task timed out")
    return isinstance(answer, dict) and {"errorMessage", "errorType"} <= answer.keys()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a deployed zip."""
    shutil.unpack_archive(archive, folder, "zip")
