"""The snippets of docs/api.md, run by Node against the embedded stack."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.api import Api
from local.aws import REGION
from local.stack import Embedded, embedded

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "api.md").read_text()
CDN = "https://audio.example.com"
Run = Callable[[str], Any]
# The API's developer would look again some time later; a pending job isn't ended.
ENDED = """
const ended = async (id) => {
  for (;;) {
    const job = await api.prisma.ttsJob.findUnique({ where: { id } });
    if (!["pending", "processing"].includes(job.status)) return job;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
"""

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="npm isn't installed")


@pytest.fixture(scope="module")
def stack() -> Iterator[Embedded]:
    with embedded(public_base_url=CDN) as stack:
        yield stack


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the page says to install, and its snippets as api.mjs."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "package.json").write_text('{"private": true}')
    packages = re.findall(r"\S+@\d[\d.]+", re.findall(r"^npm install (.+)$", PAGE, re.M)[0])
    version = next(name.rsplit("@")[-1] for name in packages if name.startswith("@prisma/client"))
    npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run(folder, [*npm, *packages, f"prisma@{version}"])
    shutil.copy(PROJECT / "db" / "schema.prisma", folder)
    run(folder, ["node_modules/.bin/prisma", "generate", "--schema", "schema.prisma"])
    snippets = re.findall(r"^( *)```js\n(.*?)^ *```$", PAGE, re.M | re.S)
    (folder / "api.mjs").write_text("\n".join(code for _, code in snippets))
    return folder


def run(folder: Path, command: list[str], **environ: str) -> str:
    # Generating a client takes no engine, and none is downloaded.
    environ |= {"PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true", "CHECKPOINT_DISABLE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def node(stack: Embedded, module: Path) -> Run:
    """Run a script over the page's module, as `api`; what it returns."""

    def call(script: str) -> Any:
        (module / "run.mjs").write_text(
            f'import * as api from "./api.mjs";\n{ENDED}'
            f"const main = async () => {{ {script} }};\n"
            "console.log(JSON.stringify(await main()));\nprocess.exit(0);\n"
        )
        output = run(
            module,
            ["node", "run.mjs"],
            DATABASE_URL=stack.database_url,
            QUEUE_URL=stack.stack.resources["Queue"],
            AWS_ENDPOINT_URL=stack.aws.endpoint_url,
            AWS_REGION=REGION,
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
        )
        return json.loads(output)

    return call


def add_list(stack: Embedded, *phrases: tuple[str, str]) -> str:
    with Api(stack.database_url) as api:
        return api.add_list(phrases)


def test_a_list_is_spoken_and_its_progress_and_failures_are_read(
    stack: Embedded, node: Run
) -> None:
    list_id = add_list(stack, ("apple", "pomme"), ("bread", "..."))

    told = node(f"""
      const id = await api.speakList("{list_id}", "user-1", {{ voice: {{ en: "coral" }} }});
      const job = await ended(id);
      const cards = await api.prisma.card.findMany({{ where: {{ listId: "{list_id}" }} }});
      return [job.status, await api.progress(id), await api.failures(id), cards];
    """)

    status, progress, failures, cards = told
    assert (status, failures) == ("completed", [])
    assert (progress["percent"], progress["running"]) == (100, False)
    urls = sorted(bool(card["audioFrUrl"]) for card in cards)
    assert [all(card["audioEnUrl"].startswith(CDN) for card in cards), urls] == [
        True,
        [False, True],
    ]


def test_an_edited_card_is_spoken_anew_and_the_others_keep_their_audio(
    stack: Embedded, node: Run
) -> None:
    list_id = add_list(stack, ("pear", "poire"), ("milk", "lait"))

    before, after = node(f"""
      const where = {{ where: {{ listId: "{list_id}" }}, orderBy: {{ position: "asc" }} }};
      await ended(await api.speakList("{list_id}", "user-1"));
      const before = await api.prisma.card.findMany(where);
      await api.editEnglish(before[0].id, "peach");
      await ended(await api.speakList("{list_id}", "user-1"));
      return [before, await api.prisma.card.findMany(where)];
    """)

    assert after[0]["audioEnUrl"] not in (None, before[0]["audioEnUrl"])
    assert after[0]["audioFrUrl"] == before[0]["audioFrUrl"]
    assert after[1] == before[1]


def test_a_job_that_has_ended_cant_be_cancelled_and_a_pending_one_can(
    stack: Embedded, node: Run
) -> None:
    list_id = add_list(stack, ("snow", "neige"))

    told = node(f"""
      const id = await api.speakList("{list_id}", "user-1");
      await ended(id);
      const late = await api.cancel(id);
      const waiting = await api.prisma.ttsJob.create({{
        data: {{ listId: "{list_id}", userId: "user-1" }},
      }});
      const inTime = await api.cancel(waiting.id);
      return [late, inTime, (await ended(waiting.id)).status];
    """)

    assert told == [False, True, "failed"]


def test_jobs_that_are_started_at_the_same_moment_are_one(stack: Embedded, node: Run) -> None:
    list_id = add_list(stack, ("rain", "pluie"))

    ids, later = node(f"""
      const start = () => api.speakListOnce("{list_id}", "user-1");
      const ids = await Promise.all([start(), start(), start()]);
      const job = await ended(ids[0]);
      return [ids, [job.status, await start() === ids[0]]];
    """)

    assert len(set(ids)) == 1
    assert later == ["completed", False]
