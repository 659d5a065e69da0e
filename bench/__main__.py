"""`make bench`: one table, each figure a ratio within one run; written to bench/RESULTS.md."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.markdown import Markdown

from bench import account, fairness, init, job, level, limit, memory, routes, scale
from bench.deployment import CARDS
from bench.machine import machine
from bench.servers import speech_process
from local.postgres import Postgres
from local.schema import create_tables
from memolist_tts.core import pacing
from memolist_tts.postgres.schema import migrate

RESULTS = Path(__file__).with_name("RESULTS.md")
ARTEFACT = Path(".aws-sam").absolute()
MINUTES, PER_MINUTE = 5, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A line of the table."""

    what: str
    found: float | None
    """None: not measured."""
    bound: float
    least: bool = False
    """Whether the bound is the least that will do."""
    told: str = ""

    @property
    def holds(self) -> bool:
        if self.found is None:
            return True
        return self.found >= self.bound if self.least else self.found <= self.bound

    @property
    def shown(self) -> str:
        return "" if self.found is None else f"{self.found:.3f}"

    def row(self) -> str:
        sign = "≥" if self.least else "≤"
        verdict = "" if self.holds else "**no**"
        return f"| {self.what} | {self.shown} | {sign} {self.bound:g} | {verdict} | {self.told} |"


def jobs() -> Iterator[Figure]:
    """Time, processor, and a job that finds all it needs."""
    found = job.measure()
    turns, utterances = job.TURNS, job.TURNS * 2 * CARDS
    yield Figure(
        what="job of 400: wall time against a bare pool (openai, boto3)",
        found=found.job_s / found.bare_s, bound=1.10,
        told=f"{found.job_s / turns:.1f} s, {found.bare_s / turns:.1f} s in {turns} turns; "
        f"{found.throttled} refused",
    )  # fmt: skip
    yield Figure(
        what="job of 400: processor time against the same",
        found=found.job_cpu_s / found.bare_cpu_s, bound=1.25,
        told=f"{1000 * found.job_cpu_s / utterances:.1f} ms, "
        f"{1000 * found.bare_cpu_s / utterances:.1f} ms an utterance; judging the clip, which "
        f"the bare pool doesn't: {1000 * found.judging_cpu_s / utterances:.1f} ms",
    )  # fmt: skip
    yield Figure(what="all-reused job of 400: seconds", found=found.again_s, bound=1.0)
    yield Figure(what="all-reused job: calls of the provider", found=found.again_calls, bound=0)
    yield Figure(what="all-reused job: calls of the storage", found=found.again_storage, bound=0)


def by_route() -> Iterator[Figure]:
    """The same job by the other two routes; more of them: `make bench-routes`."""
    found = routes.measure()
    endpoint = found["endpoint"]
    for name in ("chat", "realtime"):
        yield Figure(
            what=f"job of {routes.UTTERANCES}: wall time by {name} against the endpoint",
            found=found[name].wall_s / endpoint.wall_s, bound=routes.MOST,
            told=f"{found[name].wall_s:.1f} s, {endpoint.wall_s:.1f} s",
        )  # fmt: skip


def fair() -> Iterator[Figure]:
    """The first audio of who has one job."""
    found = fairness.measure()
    for name, seconds in (("", found.behind_s), (", served a second ago", found.again_s)):
        yield Figure(
            what=f"first audio behind {fairness.BUSY_JOBS} jobs of another user{name}, "
            "against alone",
            found=seconds / found.alone_s, bound=2.0,
            told=f"{seconds:.1f} s, {found.alone_s:.1f} s",
        )  # fmt: skip


def cold_starts() -> Iterator[Figure]:
    """The built artefact's, if it is there."""
    built, python = ARTEFACT / "e2e", ARTEFACT / "runtime" / "bin" / "python"
    what = "init: processor time of the artefact's {} against the same without caches"
    if not (built.exists() and python.exists()):
        yield Figure(
            what=what.format("start"), found=None, bound=1.0, told="not measured: make e2e first"
        )
        return
    for name, (plain, cached) in init.measure(built, python).items():
        yield Figure(
            what=what.format(name), found=cached / plain, bound=1.0,
            told=f"{cached:.0f} ms, {plain:.0f} ms",
        )  # fmt: skip


def simulated() -> Iterator[Figure]:
    """Three workers for five minutes of a simulated clock: the worst minute."""
    bucket = account.TokenBucket(per_minute=PER_MINUTE, size=PER_MINUTE)
    counting = account.TokenBucket(per_minute=PER_MINUTE, size=PER_MINUTE, refusals_count=True)
    second = account.TokenBucket(per_minute=PER_MINUTE, size=PER_MINUTE / 60)
    window = account.FixedWindow(per_minute=PER_MINUTE, begins=25)
    tallies: list[tuple[str, account.Tally, float]] = [
        ("bucket of a minute", account.share(bucket, minutes=MINUTES)[0], 1),
        ("bucket of a second", account.share(second, minutes=MINUTES)[0], 1),
        ("refused ones count", account.share(counting, minutes=MINUTES)[0], 1),
        (
            "fixed window, no headers, ceiling",
            account.share(window, minutes=MINUTES, ceiling=PER_MINUTE)[0],
            1,
        ),
        (
            "half taken by another user",
            account.share(
                account.TokenBucket(per_minute=PER_MINUTE, size=PER_MINUTE),
                minutes=MINUTES, foreign_per_s=PER_MINUTE / 120,
            )[0],
            0.5,
        ),
        (
            "the row away for two minutes",
            account.share(
                account.TokenBucket(per_minute=PER_MINUTE, size=PER_MINUTE),
                minutes=3, down=(60.0, 180.0),
            )[0],
            1,
        ),
    ]  # fmt: skip
    for name, tally, part in tallies:
        minutes = [tally.minute(n) for n in range(int(max(tally.accepted) // 60) + 1)]
        yield Figure(
            what=f"shared limit, simulated: {name}: accepted",
            found=min(a for a, _ in minutes) / (PER_MINUTE * part), bound=0.97, least=True,
        )  # fmt: skip
        yield Figure(
            what=f"shared limit, simulated: {name}: refused",
            found=max(r / (a + r) for a, r in minutes), bound=0.005,
        )  # fmt: skip


def real_limit() -> Iterator[Figure]:
    """Three processes."""
    for name, found in limit.measure().items():
        told = f"{limit.PER_MINUTE} a minute, {limit.SECONDS} s from the first request on"
        what = f"shared limit, 3 processes: {name}"
        yield Figure(
            what=f"{what}: accepted", found=found.accepted, bound=0.97, least=True, told=told
        )
        yield Figure(what=f"{what}: refused", found=found.refused, bound=0.005)


def memories() -> Iterator[Figure]:
    few, many = memory.measure()
    yield Figure(
        what="memory: a run over 2,000 utterances against one over 20",
        found=many / few, bound=1.1, told=f"{many:.0f} MB, {few:.0f} MB at most",
    )  # fmt: skip


def scales() -> Iterator[Figure]:
    for name, (small, large) in scale.measure().items():
        yield Figure(
            what=f"1 M jobs and 10 M cards against 1,000 jobs: {name}",
            found=large / small, bound=2.0, told=f"{large:.1f} ms, {small:.1f} ms",
        )  # fmt: skip


def levels() -> Iterator[Figure]:
    """How even the clips of a voice are. What a peak holds down isn't near the target."""
    with Postgres() as postgres, speech_process("--uneven") as speech_url:
        url = postgres.create("level")
        create_tables(url)
        migrate(url)
        with TemporaryDirectory() as folder:
            voices = level.measure(url, speech_url, Path(folder))
    voices["all"] = [pair for each in voices.values() for pair in each]
    for voice, pairs in voices.items():
        before = level.Spread.of([pair.take for pair in pairs])
        after = level.Spread.of([pair.clip for pair in pairs])
        near = [pair.distance_db <= level.NEAR_DB for pair in pairs]
        came = [abs(pair.take.active_dbfs - level.TARGET_DBFS) <= level.NEAR_DB for pair in pairs]
        held = [pair for pair in pairs if pair.is_held]
        free = [pair.distance_db for pair in pairs if not pair.is_held]
        name = f"loudness of {len(pairs)} clips, {voice}"
        yield Figure(
            what=f"{name}: sd, dB", found=after.sd, bound=0.75,
            told=f"{before.sd:.2f} before",
        )  # fmt: skip
        yield Figure(
            what=f"{name}: from softest to loudest, dB", found=after.range, bound=6.0,
            told=f"{before.range:.1f} before",
        )  # fmt: skip
        yield Figure(
            what=f"{name}: share within {level.NEAR_DB:g} dB of {level.TARGET_DBFS:g} dBFS",
            found=sum(near) / len(near), bound=0.95, least=True,
            told=f"{sum(came) / len(came):.2f} before; {len(held)} held down by their peaks"
            + (f", by {max(pair.distance_db for pair in held):.1f} dB at most" if held else ""),
        )  # fmt: skip
        yield Figure(what=f"{name}: farthest of the others, dB", found=max(free), bound=0.8)
    everything = voices["all"]
    yield Figure(
        what="loudness: clips whose peak passes the ceiling",
        found=sum(pair.is_clipped for pair in everything), bound=0,
    )  # fmt: skip
    yield Figure(
        what="loudness: clips of another size or duration than the take",
        found=sum(pair.is_resized for pair in everything), bound=0,
    )  # fmt: skip


PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "job": jobs,
    "routes": by_route,
    "fairness": fair,
    "simulated": simulated,
    "limit": real_limit,
    "memory": memories,
    "scale": scales,
    "level": levels,
    "init": cold_starts,
}


def main(parts: list[str], *, keeps: bool) -> int:
    """Measure, print, write; 1 where a bound doesn't hold."""
    console = Console(highlight=False)
    figures: list[Figure] = []
    for name in parts or PARTS:
        for figure in PARTS[name]():
            console.print(f"{figure.what}: {figure.shown} {figure.told}")
            figures.append(figure)
    today = datetime.now(UTC).date().isoformat()
    text = "\n".join(
        [
            "# What was measured",
            "",
            f"By `make bench` on {today}: {machine()}. Load average of the last five minutes: "
            f"{os.getloadavg()[1]:.1f}; where it is above the cores, others worked there too.",
            f"Opening rate of an unknown account: {pacing.OPENING_PER_MINUTE:.0f} a minute.",
            "",
            "| | found | bound | holds | |",
            "|---|--:|--:|---|---|",
            *(figure.row() for figure in figures),
            "",
        ]
    )
    console.print(Markdown(text))
    if keeps:
        RESULTS.write_text(text, encoding="utf-8")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="only these; kept nowhere")
    given = parser.parse_args()
    sys.exit(main(given.part, keeps=not given.part))
