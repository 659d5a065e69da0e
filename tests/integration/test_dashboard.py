"""Dashboard, alarms and saved queries, over what real jobs emit when everything goes wrong."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from unit.resolved_template import Stack

from local.cloudwatch import Key, Unsupported, calculate, statistic
from local.graphs import lines, widgets
from local.postgres import Postgres
from local.schema import create_tables
from local.troubled_run import Recording, record
from memolist_tts import telemetry
from memolist_tts.postgres.schema import migrate

GROUPS = {
    "<SynthesizeLogGroup>": "synthesize", "<SweepLogGroup>": "sweep", "<CanaryLogGroup>": "canary",
}  # fmt: skip
# What isn't a field in a query: Insights' functions, its periods of time, its words.
FUNCTION = r"\b\w+\("
PERIODS = r"bin\(\d+[smhd]\)"
WORDS = {"as", "by", "in", "asc", "desc", "and", "or", "not", "like"}


@pytest.fixture(scope="module")
def stack() -> Stack:
    return Stack("development")


@pytest.fixture(scope="module")
def recording(
    postgres: Postgres, aws_url: str, tmp_path_factory: pytest.TempPathFactory, stack: Stack
) -> Iterator[Recording]:
    url = postgres.create("troubled")
    create_tables(url)
    migrate(url)
    yield record(url, aws_url, tmp_path_factory.mktemp("clips"), stack.name)
    postgres.drop("troubled")


@dataclass(frozen=True)
class Query:
    """A metric, or an expression over others, as a widget or an alarm asks for it."""

    where: str
    id: str
    key: Key | None
    stat: str
    period_s: int
    expression: str | None = None


def of_widgets(stack: Stack) -> Iterator[list[Query]]:
    body = json.loads(stack.resources["Dashboard"]["Properties"]["DashboardBody"])
    for graph in [w["properties"] for w in body["widgets"] if w["type"] == "metric"]:
        yield [of_row(graph, row) for row in graph["metrics"]]


def of_row(graph: Mapping[str, Any], row: Sequence[Any]) -> Query:
    options = row[-1] if isinstance(row[-1], dict) else {}
    names = [item for item in row if isinstance(item, str)]
    dimensions = frozenset(zip(names[2::2], names[3::2], strict=True))
    return Query(
        where=graph["title"],
        id=options.get("id", ""),
        key=Key(names[0], names[1], dimensions) if names else None,
        stat=options.get("stat", graph["stat"]),
        period_s=graph["period"],
        expression=options.get("expression"),
    )


def of_alarms(stack: Stack) -> Iterator[list[Query]]:
    for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
        if "Metrics" not in alarm:
            stat = alarm.get("Statistic") or alarm["ExtendedStatistic"]
            key = of_metric(alarm)
            yield [Query(alarm["AlarmName"], "", key, stat, alarm["Period"])]
            continue
        yield [
            Query(
                where=alarm["AlarmName"],
                id=each["Id"],
                key=of_metric(stat["Metric"]) if (stat := each.get("MetricStat")) else None,
                stat=stat["Stat"] if stat else "",
                period_s=stat["Period"] if stat else 0,
                expression=each.get("Expression"),
            )
            for each in alarm["Metrics"]
        ]


def of_metric(metric: Mapping[str, Any]) -> Key:
    pairs = frozenset((each["Name"], each["Value"]) for each in metric["Dimensions"])
    return Key(metric["Namespace"], metric["MetricName"], pairs)


def asked(stack: Stack) -> list[list[Query]]:
    return [*of_widgets(stack), *of_alarms(stack)]


def ours(groups: Iterable[Iterable[Query]]) -> list[Query]:
    queries = [query for group in groups for query in group]
    return [q for q in queries if q.key is not None and q.key.namespace == telemetry.NAMESPACE]


def test_every_metric_that_is_shown_or_rings_was_emitted_under_just_its_dimensions(
    recording: Recording, stack: Stack
) -> None:
    named = ours(asked(stack))

    emitted = recording.samples.keys()
    assert len(named) > 40
    assert [(q.where, q.key) for q in named if q.key not in emitted] == []
    # One would count lines; its pattern would have to be tried on them here.
    assert not stack.of_type("AWS::Logs::MetricFilter")


def test_every_statistic_that_is_asked_of_a_metric_is_a_finite_number(
    recording: Recording, stack: Stack
) -> None:
    for query in ours(asked(stack)):
        assert query.key is not None
        values = recording.samples.series(query.key, query.stat, query.period_s)
        known = [value for value in values if value is not None]
        assert known, query
        assert all(map(math.isfinite, known)), query


def test_every_metric_of_the_catalogue_was_emitted_under_all_its_dimensions(
    recording: Recording, stack: Stack
) -> None:
    emitted = {
        (key.name, frozenset(name for name, _ in key.dimensions))
        for key in recording.samples.keys()  # noqa: SIM118
        if key.namespace == telemetry.NAMESPACE and ("service", stack.name) in key.dimensions
    }
    catalogue = {(m.name, names) for m in telemetry.METRICS.values() for names in m.dimensions}
    assert emitted == catalogue


def test_the_run_had_every_trouble_that_is_counted(recording: Recording, stack: Stack) -> None:
    # Only a metric that has moved shows that it is measured. (The days left are the calendar's.)
    for name in set(telemetry.METRICS) - {"DaysToShutdown"}:
        key = Key(telemetry.NAMESPACE, name, frozenset({("service", stack.name)}))
        assert max(recording.samples.of(key)) > 0, name


def test_every_expression_of_dashboard_and_alarms_gives_a_number_for_each_period(
    recording: Recording, stack: Stack
) -> None:
    found: dict[tuple[str, str], list[float | None]] = {}
    for group in asked(stack):
        series = {
            query.id: recording.samples.series(query.key, query.stat, query.period_s)
            for query in group
            if query.key is not None and query.id
        }
        for query in group:
            if query.expression is not None:
                found[query.where, query.id] = calculate(query.expression, series)

    assert len(found) == 5
    for where, values in found.items():
        assert all(value is not None and math.isfinite(value) for value in values), where
        assert any(values), where


def test_the_share_of_failed_utterances_is_what_it_says(recording: Recording) -> None:
    graph = next(
        widget["properties"]
        for widget in widgets(recording.stack)
        if widget["properties"]["title"] == "Failure rates (%)"
    )

    drawn = {line.label: line.values for line in lines(graph, recording.samples)}

    # Two jobs of eight spoken utterances each, and two refused.
    assert max(value or 0 for value in drawn["utterances"]) == pytest.approx(100 * 4 / 20)


@pytest.mark.parametrize(
    "expression", ["RATE(a)", "a ** 2", "a AND b", "FILL(a, REPEAT)", "nobody", "IF(a > 1, a, x)"]
)
def test_math_that_is_not_understood_is_an_error_and_no_number(expression: str) -> None:
    with pytest.raises(Unsupported):
        calculate(expression, {"a": [1.0], "b": [2.0]})


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("100 * a / (a + b)", [25.0, None, None]),
        ("IF(FILL(a, 0) > 0, b / a, 0)", [3.0, 0.0, 0.0]),
        ("FILL(b, 7) >= 3", [1.0, 1.0, 1.0]),
    ],
)
def test_math_treats_what_is_missing_as_cloudwatch_does(
    expression: str, result: list[float | None]
) -> None:
    assert calculate(expression, {"a": [1.0, None, 0.0], "b": [3.0, 4.0, None]}) == result


def test_a_statistic_that_is_not_known_is_an_error() -> None:
    assert statistic([1.0, 2.0, 3.0], "p50") == 2
    with pytest.raises(Unsupported, match="TM99"):
        statistic([1.0], "TM99")


def queries(stack: Stack) -> Iterator[tuple[str, list[str], str]]:
    """Each saved or shown Insights query: its name, what wrote the lines, its text."""
    for query in stack.of_type("AWS::Logs::QueryDefinition").values():
        yield query["Name"], [GROUPS[name] for name in query["LogGroupNames"]], query["QueryString"]
    body = json.loads(stack.resources["Dashboard"]["Properties"]["DashboardBody"])
    for widget in [w["properties"] for w in body["widgets"] if w["type"] == "log"]:
        source, _, query = widget["query"].partition(" | ")
        yield widget["title"], [GROUPS[name] for name in re.findall(r"'(.*?)'", source)], query


def fields(query: str) -> set[str]:
    """The fields of ours in a query: no strings, no new names, not the platform's own (@)."""
    bare = re.sub(rf'"[^"]*"|@\w+|{PERIODS}', "", query)
    made = set(re.findall(r"\bas (\w+)", bare))
    arguments = [re.sub(FUNCTION, "", part.strip().partition(" ")[2]) for part in bare.split("|")]
    return set(re.findall(r"\b[a-z_]\w*", " ".join(arguments))) - made - WORDS


def wanted_lines(
    recording: Recording, functions: Iterable[str], query: str
) -> list[Mapping[str, Any]]:
    names = set(re.findall(r'"(\w+)"', "".join(re.findall(r"message (?:=|in) .*", query))))
    written = [line for function in functions for line in recording.lines[function]]
    return [line for line in written if not names or line["message"] in names]


def test_every_field_of_a_query_stands_in_a_line_that_was_written(
    recording: Recording, stack: Stack
) -> None:
    tried = list(queries(stack))

    assert len(tried) == 10
    for name, functions, query in tried:
        written = wanted_lines(recording, functions, query)
        assert written, name
        assert fields(query) <= set().union(*written), name


def test_every_line_that_was_written_is_of_the_catalogue(recording: Recording) -> None:
    own = {"level", "location", "timestamp", "service", "message", "cold_start", "xray_trace_id"}
    for line in itertools.chain.from_iterable(recording.lines.values()):
        extra = {name for name in line if name not in own and not name.startswith("function_")}
        assert extra <= telemetry.EVENTS[line["message"]].fields, line


def test_a_query_is_read_for_what_it_names() -> None:
    query = 'filter message = "a_name" | stats pct(seconds, 50) as p50_s by code, bin(1h)'
    assert fields(query) == {"message", "seconds", "code"}
