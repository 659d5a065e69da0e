"""What CloudWatch does with metrics: it keeps samples, sums them up by period, and calculates."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from local.bridge import metric_data

STEP_S = 300
"""The shortest period that is told apart."""

Series: TypeAlias = list[float | None]
"""A value for each period, oldest first; None where nothing was measured."""


class Unsupported(Exception):
    """A statistic or an expression that isn't understood here; the text says which part."""


@dataclass(frozen=True, slots=True)
class Key:
    """A metric as CloudWatch tells it from others: under other dimensions it's another one."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


@dataclass
class Samples:
    """Everything measured, by step of STEP_S seconds."""

    steps: list[defaultdict[Key, list[float]]] = field(default_factory=list)

    def begin_step(self) -> None:
        self.steps.append(defaultdict(list))

    def add(self, key: Key, values: Iterable[float]) -> None:
        """Measured within the step begun last."""
        self.steps[-1][key] += values

    def add_printed(self, line: str) -> None:
        """The metrics in a line of the embedded metric format; none in any other."""
        for namespace, data in metric_data(line):
            for metric in data:
                pairs = ((each["Name"], each["Value"]) for each in metric["Dimensions"])
                self.add(Key(namespace, metric["MetricName"], frozenset(pairs)), metric["Values"])

    def keys(self) -> set[Key]:
        return {key for step in self.steps for key in step}

    def of(self, key: Key) -> list[float]:
        """Every sample of one metric, oldest first."""
        return [value for step in self.steps for value in step.get(key, ())]

    def series(self, key: Key, stat: str, period_s: int) -> Series:
        """The statistic of each period. Raises `Unsupported`."""
        width = max(1, math.ceil(period_s / STEP_S))
        periods = [self.steps[at : at + width] for at in range(0, len(self.steps), width)]
        return [
            statistic([value for step in period for value in step.get(key, ())], stat)
            for period in periods
        ]


_STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Average": lambda values: math.fsum(values) / len(values),
    "Maximum": max,
    "Minimum": min,
    "SampleCount": len,
    "Sum": math.fsum,
}


def statistic(values: Sequence[float], stat: str) -> float | None:
    """One number for many, None for none. Raises `Unsupported` for an unknown `stat`."""
    percentile = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?|100)", stat)
    if stat not in _STATISTICS and percentile is None:
        raise Unsupported(f"statistic {stat}")
    if not values:
        return None
    if percentile is None:
        return float(_STATISTICS[stat](values))
    place = float(percentile[1]) / 100 * (len(values) - 1)
    ranked, low = sorted(values), math.floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


_OPERATORS: Mapping[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
}


def calculate(expression: str, series: Mapping[str, Series]) -> Series:
    """Metric math over `series` by id, all of one length, point by point.

    Knows + - * / ( ), > >= < <=, IF with three arguments and FILL with a number, whose grammar
    is Python's too; raises `Unsupported` for all else. As in CloudWatch, what is missing makes
    the result missing, and so does a division by zero.
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise Unsupported(f"{expression}: {error.msg}") from error
    points = zip(*series.values(), strict=True)
    return [_value(tree, dict(zip(series, point, strict=True))) for point in points]


def _value(node: ast.expr, point: Mapping[str, float | None]) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name) if name in point:
            return point[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _applied(type(op), _value(left, point), _value(right, point))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            return _applied(type(op), _value(left, point), _value(right, point))
        case ast.Call(func=ast.Name(id="FILL"), args=[filled, ast.Constant(value=int() as number)]):
            value = _value(filled, point)
            return float(number) if value is None else value
        case ast.Call(func=ast.Name(id="IF"), args=[condition, then, other]):
            # Both, so that an unknown name is found whichever is taken.
            chosen = _value(then, point), _value(other, point)
            holds = _value(condition, point)
            return None if holds is None else chosen[0 if holds else 1]
    raise Unsupported(ast.unparse(node))


def _applied(op: type[ast.AST], left: float | None, right: float | None) -> float | None:
    if left is None or right is None or (op is ast.Div and right == 0):
        return None
    return float(_OPERATORS[op](left, right))
