"""The Lambda functions of one deployment, called in this process as Lambda calls them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


@dataclass
class Context:
    """What a handler reads of Lambda's context."""

    left_ms: int = 60_000
    function_name: str = "memolist-synthesize"
    memory_limit_in_mb: str = "1024"
    invoked_function_arn: str = "arn:aws:lambda:eu-west-3:123456789012:function:memolist"
    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


@dataclass
class Doors:
    """Handlers by name, `synthesize`, `sweep` and `canary`; each starts cold at its first call."""

    modules: dict[str, ModuleType] = field(default_factory=dict, kw_only=True)

    def call(self, name: str, event: Mapping[str, Any], **context: Any) -> Any:
        """A handler's answer; `context` are fields of `Context`."""
        if name not in self.modules:
            module = importlib.import_module(f"memolist_tts.lambdas.{name}")
            # Settings are read at import, as in a cold start.
            self.modules[name] = importlib.reload(module)
            # Powertools keeps them by process; a call that a test broke off leaves its own.
            self.modules[name].metrics.clear_metrics()
            for handler in self.modules[name].logger.handlers:
                # And the stream of an earlier cold start, which may be closed by now.
                handler.stream = sys.stdout
        return self.modules[name].handler(event, Context(**context))

    def close(self) -> None:
        """Let go of the database."""
        for module in self.modules.values():
            module.worker.database.close()
