"""What a cold start of the artefact costs in processor time, against the same without caches.

`make e2e` builds it and `make bench-init` runs this. Wall time would measure the machine.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from local.rie import Package

RUNS = 7
VARIABLES = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1/none",
    "OPENAI_API_KEY": "sk-none",
    "QUEUE_URL": "http://127.0.0.1/none",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "POWERTOOLS_METRICS_NAMESPACE": "bench",
    "STORAGE_TYPE": "s3",
    "AWS_S3_BUCKET": "none",
    "AWS_DEFAULT_REGION": "eu-west-3",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}
# The second: what the first job that speaks loads besides.
STATEMENTS = {
    "sweep": "import memolist_tts.lambdas.sweep",
    "synthesize": "import memolist_tts.lambdas.synthesize",
    "synthesize, first job": (
        "import memolist_tts.lambdas.synthesize as s; s.worker.speaker(); s.worker.storage"
    ),
}
MEASURE = "import time; print(time.process_time())"


def package(built: Path) -> Package:
    return Package(
        name="bench",
        handler="",
        timeout_s=60,
        memory_mb=1024,
        variables=VARIABLES,
        code=built / "SynthesizeFunction",
        layer=built / "DependenciesLayer",
    )


def cpu_ms(package: Package, python: Path, statement: str) -> float:
    """Of a process that starts Python and runs `statement`."""
    done = subprocess.run(
        package.within([python, "-c", f"{statement}; {MEASURE}"]),
        env=package.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return 1000 * float(done.stdout.split()[-1])


def measure(built: Path, python: Path) -> dict[str, tuple[float, float]]:
    """By name: the median milliseconds of a start without caches, and as built."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain")
        shutil.copytree(built, plain, ignore=shutil.ignore_patterns("__pycache__"))
        for name, statement in STATEMENTS.items():
            # By turns, so that the machine's other work falls on both alike.
            pairs = [
                [cpu_ms(package(each), python, statement) for each in (plain, built)]
                for _ in range(RUNS)
            ]
            without, cached = map(statistics.median, zip(*pairs, strict=True))
            found[name] = without, cached
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("built", type=Path, help="what `sam build` made")
    parser.add_argument("python", type=Path, help="of Lambda's environment")
    given = parser.parse_args()
    print(f"{'CPU ms, median of ' + str(RUNS):24} plain  built  ratio")
    for name, (plain, built) in measure(given.built.absolute(), given.python.absolute()).items():
        print(f"{name:24} {plain:5.0f}  {built:5.0f}  {built / plain:5.2f}")
