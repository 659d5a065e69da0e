"""The snippets of docs/api.md, run by Node against the embedded stack."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
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
      const progress = [await api.progress(id), await api.plainProgress(id)];
      return [job.status, progress, await api.failures(id), cards];
    """)

    status, (progress, plain), failures, cards = told
    assert (status, failures) == ("completed", [])
    assert (progress["percent"], progress["running"]) == (100, False)
    assert plain == {
        "status": "completed", "totalCount": 4, "doneCount": 4, "failedCount": 0, "percent": 100,
    }  # fmt: skip
    urls = sorted(bool(card["audioFrUrl"]) for card in cards)
    assert [all(card["audioEnUrl"].startswith(CDN) for card in cards), urls] == [
        True,
        [False, True],
    ]


def test_a_row_alone_is_found_by_the_sweep_and_by_an_operator(stack: Embedded, node: Run) -> None:
    found, hurried = (
        node(f'return api.speakListLater("{add_list(stack, phrase)}", "user-1");')
        for phrase in (("plum", "prune"), ("leek", "poireau"))
    )

    hurry(stack, hurried)
    status = node(f'return (await ended("{hurried}")).status;')
    waiting, nothing = node(f"""
      return [await api.plainProgress("{found}"), await api.progress("{found}") ?? null];
    """)
    sweep(stack)

    assert (status, waiting["status"], waiting["percent"], nothing) == (
        "completed", "pending", 0, None,
    )  # fmt: skip
    assert node(f'return (await ended("{found}")).status;') == "completed"


def hurry(stack: Embedded, job_id: str) -> None:
    """What the page has an operator do."""
    operate(stack, "enqueue", job_id)


def operate(stack: Embedded, *words: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "from memolist_tts.cli import main; main()", *words],
        env=os.environ
        | {
            "PYTHONPATH": str(PROJECT / "src"),
            "DATABASE_URL": stack.database_url,
            "QUEUE_URL": stack.stack.resources["Queue"],
            "AWS_ENDPOINT_URL": stack.aws.endpoint_url,
            "AWS_DEFAULT_REGION": REGION,
        },
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr


def sweep(stack: Embedded) -> None:
    """What the schedule does, or an operator by `aws lambda invoke`."""
    name = stack.stack.resources["SweepFunction"]
    answer = stack.aws.client("lambda").invoke(FunctionName=name, Payload=b"{}")
    assert "FunctionError" not in answer


def test_a_failed_job_that_is_made_pending_again_tries_what_failed(
    stack: Embedded, node: Run
) -> None:
    assert stack.speech is not None
    stack.speech.add_fault("refused", match="gooseberry")
    list_id = add_list(stack, ("gooseberry", "groseille"))

    job_id, before, texts = node(f"""
      const id = await api.speakList("{list_id}", "user-1");
      const job = await ended(id);
      const [failure] = await api.failures(id);
      const {{ error_code }} = await api.progress(id);
      return [id, [job.status, failure.code, error_code, (await api.plainProgress(id)).percent],
        [api.explain(failure.code), api.explain(error_code, "fr")]];
    """)
    stack.speech.clear_faults()
    node(f"""
      const data = {{ status: "pending" }};
      await api.prisma.ttsJob.update({{ where: {{ id: "{job_id}" }}, data }});
      return null;
    """)
    sweep(stack)

    assert before == ["failed", "refused", "utterances_failed", 100]
    assert texts == [
        "This text can't be read aloud. Please change it.",
        "Certaines cartes n'ont pas d'audio. La raison est indiquée sur chacune.",
    ]
    assert node(f'return (await ended("{job_id}")).status;') == "completed"


def test_the_end_of_a_job_is_taken_as_a_hint_to_look(stack: Embedded, node: Run) -> None:
    (event,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.M | re.S)
    list_id = add_list(stack, ("moon", "lune"))

    found, waiting, unknown = node(f"""
      const told = (jobId) => ({{ ...{event}, detail: {{ jobId }} }});
      const id = await api.speakList("{list_id}", "user-1");
      await ended(id);
      const later = await api.speakListLater("{list_id}", "user-1");
      return [await api.onJobEnd(told(id)), await api.onJobEnd(told(later)),
        await api.onJobEnd({event})];
    """)

    assert (found["status"], waiting, unknown) == ("completed", None, None)


def test_every_code_has_a_text_to_show_in_both_languages(node: Run) -> None:
    table = re.search(r"^\| code \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M)
    assert table is not None
    codes = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", table[1], re.M)

    told = node(f"""
      return {json.dumps([code for code, _ in codes])}.map((code) => [
        api.explain(code), api.explain(code, "fr"), api.explain("not yet known", "fr")]);
    """)

    assert len(codes) == len(table[1].splitlines())
    texts = {
        code: (english, french) for (code, _), (english, french, _) in zip(codes, told, strict=True)
    }
    assert all(english and french and english != french for english, french in texts.values())
    assert {unknown for _, _, unknown in told} == {texts["internal"][1]}
    assert [code for code in texts if texts[code] == texts["internal"]] == ["internal"]


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


def test_an_operator_s_job_over_one_card_is_not_the_one_to_join(stack: Embedded, node: Run) -> None:
    list_id = add_list(stack, ("sun", "soleil"), ("star", "étoile"))
    operate(stack, "pause")
    operate(stack, "fill", "--list", list_id, "--limit", "1")

    mine, others, again = node(f"""
      const where = {{ listId: "{list_id}" }};
      const others = await api.prisma.ttsJob.findMany({{ where }});
      const start = () => api.speakListOnce("{list_id}", "user-1");
      return [await start(), others.map((job) => job.id), await start()];
    """)
    operate(stack, "resume")
    sweep(stack)
    cards = node(f"""
      await ended("{mine}");
      return api.prisma.card.findMany({{ where: {{ listId: "{list_id}" }} }});
    """)

    assert len(others) == 1
    assert mine == again != others[0]
    assert all(card["audioEnUrl"] and card["audioFrUrl"] for card in cards)
