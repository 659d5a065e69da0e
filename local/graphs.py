"""The graphs of the template's dashboard, and what each shows of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from samtranslator.yaml_helper import yaml_parse

from local.cloudwatch import Key, Samples, Series, calculate
from local.stack import TEMPLATE

Widget: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series of a graph."""

    label: str
    values: Series
    color: str | None
    """As HTML has it, where the dashboard chooses one."""
    is_right: bool
    """Whether its axis is the right one."""


def widgets(stack: str) -> list[Widget]:
    """The graphs of the template's dashboard, for a stack of this name."""
    resources = yaml_parse(TEMPLATE.read_text(encoding="utf-8"))["Resources"]
    names = {
        "AWS::StackName": stack,
        "Queue.QueueName": f"{stack}-jobs",
        "DeadLetterQueue.QueueName": f"{stack}-dead-letters",
        "SynthesizeFunction": f"{stack}-synthesize",
        "SweepFunction": f"{stack}-sweep",
        "CanaryFunction": f"{stack}-canary",
    }
    body = re.sub(
        r"\$\{([\w.:]+)\}",
        lambda match: names.get(match[1], match[1]),
        resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"],
    )
    return [widget for widget in json.loads(body)["widgets"] if widget["type"] == "metric"]


def lines(graph: Mapping[str, Any], samples: Samples) -> list[Line]:
    """What a graph shows. Raises `Unsupported` for what isn't understood."""
    rows = [(_key(row), row[-1] if isinstance(row[-1], dict) else {}) for row in graph["metrics"]]
    found = [
        samples.series(key, options.get("stat", graph["stat"]), graph["period"]) if key else []
        for key, options in rows
    ]
    by_id = {
        options["id"]: series
        for (key, options), series in zip(rows, found, strict=True)
        if key and "id" in options
    }
    return [
        Line(
            label=options.get("label", key.name if key else ""),
            values=series if key else calculate(options["expression"], by_id),
            color=options.get("color"),
            is_right=options.get("yAxis") == "right",
        )
        for (key, options), series in zip(rows, found, strict=True)
        if options.get("visible", True)
    ]


def _key(row: Sequence[Any]) -> Key | None:
    """The metric of a row; None for an expression."""
    if not isinstance(row[0], str):
        return None
    namespace, name, *pairs = [item for item in row if isinstance(item, str)]
    return Key(namespace, name, frozenset(zip(pairs[::2], pairs[1::2], strict=True)))
