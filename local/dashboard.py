"""`make dashboard`: the graphs of the template's dashboard, drawn from a real run."""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from local.aws import Aws
from local.cloudwatch import STEP_S, Samples
from local.graphs import Line, lines, widgets
from local.postgres import Postgres
from local.schema import create_tables
from local.stack import together
from local.troubled_run import Recording, record
from memolist_tts.postgres.schema import migrate

PICTURE = Path("docs/dashboard.png")
STACK = "memolist-development"
COLUMNS = 24
WIDE_IN, UNIT_IN = 18.0, 0.6
"""The picture's width; the height of one row of the dashboard's grid."""
TITLE_IN = 0.55
PALETTE = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#17becf", "#e377c2", "#bcbd22")
INK, PALE = "#16191f", "#5f6b7a"


def draw(recording: Recording, path: Path) -> None:
    """Every graph in its place, as one PNG."""
    shown = widgets(recording.stack)
    first = min(widget["y"] for widget in shown)
    units = max(widget["y"] + widget["height"] for widget in shown) - first
    high_in = units * UNIT_IN + TITLE_IN
    matplotlib.rcParams |= {"font.size": 10, "text.color": INK, "axes.edgecolor": "#c6cad1"}
    figure = Figure(figsize=(WIDE_IN, high_in), facecolor="white")
    _headline(figure, recording, high_in)
    for widget in shown:
        # Inside its place: room for the title above, the numbers beside, the legend below.
        left = widget["x"] / COLUMNS * WIDE_IN + 0.62
        wide = widget["width"] / COLUMNS * WIDE_IN - 1.15
        top = (widget["y"] - first) * UNIT_IN + TITLE_IN + 0.45
        tall = widget["height"] * UNIT_IN - 1.45
        place = (left / WIDE_IN, 1 - (top + tall) / high_in, wide / WIDE_IN, tall / high_in)
        _draw_graph(figure.add_axes(place), widget["properties"], recording.samples)
    # Without the library's version, so that the same run is the same file.
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _headline(figure: Figure, recording: Recording, high_in: float) -> None:
    minutes = len(recording.samples.steps) * STEP_S // 60
    at = 1 - 0.3 / high_in
    figure.text(0.014, at, recording.stack, size=17, weight="bold", va="center")
    told = (
        f"{minutes // 60} h {minutes % 60} min with every trouble there is, by real jobs; "
        "the time between two sweeps is compressed"
    )
    figure.text(0.986, at, told, size=11, color=PALE, va="center", ha="right")


def _draw_graph(axes: Axes, graph: Mapping[str, Any], samples: Samples) -> None:
    shown = _colored(lines(graph, samples))
    axes.set_title(graph["title"], loc="left", size=12, weight="bold", color=INK, pad=9)
    if graph["view"] == "singleValue":
        _draw_number(axes, shown, graph["stat"])
    elif max(len(line.values) for line in shown) == 1:
        _draw_totals(axes, shown)
    else:
        _draw_over_time(axes, graph, shown)


def _colored(shown: Sequence[Line]) -> list[Line]:
    """A color for each, and none twice."""
    given = {line.color for line in shown}
    free = iter([color for color in PALETTE if color not in given])
    return [replace(line, color=line.color or next(free)) for line in shown]


def _draw_number(axes: Axes, shown: Sequence[Line], stat: str) -> None:
    axes.set_axis_off()
    (line,) = shown
    known = [value for value in line.values if value is not None]
    told = f"{known[-1]:,.0f}" if known else "–"
    axes.text(0.5, 0.55, told, size=54, ha="center", va="center", color=line.color)
    axes.text(0.5, 0.16, f"{line.label} ({stat.lower()})", size=11, ha="center", color=PALE)


def _draw_totals(axes: Axes, shown: Sequence[Line]) -> None:
    """Of one period that covers the whole run: a bar each, every one on its own scale."""
    axes.set_yticks([])
    axes.set_xticks(range(len(shown)), [line.label for line in shown], size=11)
    axes.tick_params(length=0, colors=INK)
    axes.set(xlim=(-0.6, len(shown) - 0.4), ylim=(0, 1.25))
    for spine in ("top", "left", "right"):
        axes.spines[spine].set_visible(False)
    for at, line in enumerate(shown):
        value = line.values[0] or 0.0
        axes.bar(at, 1 if value else 0, width=0.45, color=line.color)
        told = f"{value:,.0f}" if value >= 10 else f"{value:.4f}"
        axes.text(at, 1.06, told, ha="center", size=14, weight="bold")


def _draw_over_time(axes: Axes, graph: Mapping[str, Any], shown: Sequence[Line]) -> None:
    minutes = [at * graph["period"] / 60 for at in range(len(shown[0].values))]
    right = axes.twinx() if any(line.is_right for line in shown) else axes
    if graph.get("stacked"):
        stacked = [[value or 0.0 for value in line.values] for line in shown]
        colors, labels = zip(*((line.color, line.label) for line in shown), strict=True)
        axes.stackplot(minutes, stacked, colors=colors, labels=labels, alpha=0.85, step="mid")
    else:
        for line in shown:
            _draw_line(right if line.is_right else axes, minutes, line)
    _scale(axes, graph, minutes)
    handles = [each for part in {axes, right} for each in part.get_legend_handles_labels()[0]]
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3,
        frameon=False, fontsize=9.5, handlelength=1.3, columnspacing=1.4, labelspacing=0.3,
    )  # fmt: skip


def _draw_line(axes: Axes, minutes: Sequence[float], line: Line) -> None:
    values = [math.nan if value is None else value for value in line.values]
    axes.plot(
        minutes, values, color=line.color, label=line.label,
        linewidth=1.7, marker="o", markersize=3.2, clip_on=False,
    )  # fmt: skip


def _scale(axes: Axes, graph: Mapping[str, Any], minutes: Sequence[float]) -> None:
    bounds = graph.get("yAxis", {}).get("left", {})
    axes.set_xlim(minutes[0] - 2, minutes[-1] + 2)
    axes.set_ylim(bounds.get("min", 0), bounds.get("max"))
    if "max" not in bounds:
        # Some air above, and whole numbers for what is counted.
        axes.set_ylim(top=max(1.0, axes.get_ylim()[1]) if _counts(graph) else None)
    axes.yaxis.set_major_locator(
        MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10], integer=_counts(graph))
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 3, 6, 10]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02}")
    )
    axes.tick_params(colors=PALE, labelsize=9, length=0)
    axes.grid(axis="y", color="#e9ebed", linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in ("top", "left", "right"):
        axes.spines[spine].set_visible(False)


def _counts(graph: Mapping[str, Any]) -> bool:
    return not re.search(r"seconds|%|USD", graph["title"])


def main() -> int:
    postgres, aws = Postgres(), Aws()
    with together(postgres, aws), tempfile.TemporaryDirectory() as clips:
        url = postgres.create("memolist")
        create_tables(url)
        migrate(url)
        recording = record(url, aws.endpoint_url, Path(clips), STACK)
    draw(recording, PICTURE)
    print(f"{PICTURE}: {len(widgets(STACK))} graphs of {len(recording.samples.steps)} sweeps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
