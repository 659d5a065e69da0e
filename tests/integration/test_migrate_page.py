"""docs/migrate.md: its SQL and its commands run as written, its tables are held to the code."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from command import COMMAND, PATIENCE_S, ROOT, environment
from deployment import Deployment
from old_worker import OLD_URL, OldWorker, old_worker

from local.api import Api, audio_urls
from local.job import follow
from local.postgres import connect
from memolist_tts import route
from memolist_tts.core.model import Completed, Failed, Idle
from memolist_tts.instructions import INSTRUCTIONS
from memolist_tts.settings import Needs, Settings, SettingsError
from memolist_tts.speech.models import known

PAGE = (ROOT / "docs" / "migrate.md").read_text()
BLOCKS = {
    name: re.sub(r"^ +", "", sql, flags=re.M)
    for name, sql in re.findall(r"^ *```sql\n *-- (.+)\n((?:.*\n)+?) *```$", PAGE, re.M)
}
COMMANDS = [
    line.strip()
    for block in re.findall(r"^ *```sh\n((?:.*\n)+?) *```$", PAGE, re.M)
    for line in block.splitlines()
]
CDN = "https://cdn.example.com"
WORDS = [("apple", "pomme"), ("bread", "pain")]
OLD_MODELS = ("tts-1", "gpt-4o-mini-tts")


def do(api: Api, block: str, **names: str) -> list[list[object]]:
    """Run a block of the page, its capitals replaced; the rows of its last statement."""
    sql = BLOCKS[block]
    for name, value in names.items():
        assert name in sql
        sql = sql.replace(name, value)
    rows: list[list[object]] = []
    for statement in filter(str.strip, sql.split(";")):
        rows = api.rows(statement)
    return rows


def cells(head: str) -> list[list[str]]:
    """The rows of the table whose first column is `head`."""
    table = re.search(rf"^\| {re.escape(head)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M)
    assert table is not None
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table[1].splitlines()]


def test_every_block_of_sql_on_the_page_is_run_below() -> None:
    here = Path(__file__).read_text()

    assert len(BLOCKS) == PAGE.count("```sql")
    assert [name for name in BLOCKS if here.count(f'"{name}"') == 0] == []


# ── the variables ────────────────────────────────────────────────────────────


def test_every_variable_is_on_the_page_with_its_default() -> None:
    table = cells("old variable")
    names = [name for row in table for name in re.findall(r"`([^`]+)`", row[0])]
    new = re.search(r"^New, and none(.+?)\n\n", PAGE, re.M | re.S)
    assert new is not None
    others = re.findall(r"`([A-Z_]+)`", new[1])
    fields = {name: field for name, field in Settings.model_fields.items() if name.isupper()}
    per_language = {
        f"{what}_{each.upper()}" for what in ("VOICE", "INSTRUCTIONS") for each in INSTRUCTIONS
    }

    assert sorted(names + others) == sorted(fields.keys() | per_language)
    told = {row[0].strip("`"): row[1].strip("`") for row in table if row[1].startswith("`")}
    told.pop("VOICE_EN`, `VOICE_FR")
    assert told == {name: str(fields[name].default) for name in told}
    assert Settings().voice("fr", "tts-1").name == "alloy"


@pytest.mark.parametrize("row", cells("`TTS_MODEL`"), ids=lambda row: " ".join(row[:2]))
def test_what_speaks_before_and_after_the_endpoints_end_is_as_the_page_says(
    row: list[str],
) -> None:
    model, provider, before, after = row
    given = {"DATABASE_URL": "postgresql://u@h/d", "OPENAI_API_KEY": "sk-x"}
    given |= {} if model == "unset" else {"TTS_MODEL": model.strip("`")}
    given |= {} if provider == "unset" else {"TTS_PROVIDER": provider.strip("`")}
    if before == "refused at start":
        with pytest.raises(SettingsError, match="TTS_MODEL: tts-1 speaks by TTS_PROVIDER=endpoint"):
            Settings.load(Needs.WORKER, environ=given)
        return
    settings = Settings.load(Needs.WORKER, environ=given)
    end = date(2027, 1, 6)

    def way(day: date) -> str:
        found = route.choose(settings, day, lambda _: None)
        return f"`{found.model}` by `{found.route}`"

    assert before.startswith(way(end - timedelta(days=1)))
    if after.startswith("closed"):
        ended = known(model.strip("`"))
        assert ended is not None
        assert (way(end), ended.closes) == (before.split(",")[0], end)
    else:
        assert way(end) == (before if after == "the same" else after).split(",")[0]


def test_prices_are_the_runbooks() -> None:
    runbook = (ROOT / "docs" / "operate.md").read_text()
    measured = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) [(|]", runbook, re.M))
    measured |= dict(re.findall(r"\(`(tts-1)`: ([\d.]+)\)", runbook))
    told = " ".join(cell for row in cells("`TTS_MODEL`") for cell in row)

    for model, way, price in re.findall(r"`([\w.-]+)` by `(\w+)`, ([\d.]+) USD", told):
        assert price == measured.get(model, measured[way])


@pytest.mark.parametrize(
    ("variable", "value"),
    [(f"VOICE_{'FR'}", voice) for voice in ("ballad", "verse", "marin", "cedar")]
    + [("INSTRUCTIONS_EN", "Slowly.")],
)
def test_what_the_page_calls_refused_is_refused(variable: str, value: str) -> None:
    given = {
        "DATABASE_URL": "postgresql://u@h/d", "OPENAI_API_KEY": "sk-x", "TTS_MODEL": "tts-1",
        variable: value,
    }  # fmt: skip

    with pytest.raises(SettingsError, match=f"{variable}: tts-1"):
        Settings.load(Needs.WORKER, environ=given)


def test_a_job_that_asks_for_the_old_model_of_another_way_fails(deployment: Deployment) -> None:
    api = deployment.api
    job_id = api.add_job(api.add_list(WORDS), options='{"model": "tts-1"}')

    outcome = deployment.go(job_id, TTS_PROVIDER="chat").outcome

    assert isinstance(outcome, Failed)
    assert outcome.code == "bad_options"


def test_the_address_may_carry_prismas_own_parameters(deployment: Deployment) -> None:
    more = "?schema=public&connection_limit=5&pool_timeout=10"

    shown = deployment.command("status", DATABASE_URL=deployment.url + more)

    assert (shown.returncode, shown.stderr) == (0, "")


# ── the old clips ────────────────────────────────────────────────────────────


@pytest.fixture
def old(deployment: Deployment) -> Iterator[OldWorker]:
    with old_worker(deployment.url) as worker:
        yield worker


def voiced_by_the_old_worker(deployment: Deployment, old: OldWorker) -> str:
    list_id = deployment.api.add_list(WORDS)
    deployment.api.add_job(list_id)
    old.work()
    return list_id


def urls(deployment: Deployment, list_id: str) -> list[str | None]:
    return [url for card in deployment.api.cards(list_id) for url in audio_urls(card)]


@pytest.mark.parametrize(
    ("base", "is_ours"), [("https://old.example.com", True), (CDN, False)], ids=["ours", "foreign"]
)
def test_what_each_command_does_with_an_old_clip(
    deployment: Deployment, old: OldWorker, base: str, is_ours: bool
) -> None:
    deployment.settings |= {"PUBLIC_BASE_URL": base, "TTS_PROVIDER": "endpoint"}
    list_id = voiced_by_the_old_worker(deployment, old)
    api, before = deployment.api, urls(deployment, list_id)
    first, second = api.cards(list_id)
    deployment.folder.mkdir(exist_ok=True)
    (deployment.folder / f"{first['id']}-en.mp3").write_bytes(b"the old worker's")

    # Nothing to do for any of these.
    plain = deployment.go(api.add_job(list_id))
    assert (plain.outcome, plain.tally.kept) == (Completed(), 4)
    assert deployment.told("fill")["utterances"] == 0
    assert (
        deployment.told("revoice", "--to", "nova", "--where", f"list={list_id}", "--yes")[
            "utterances"
        ]
        == 0
    )
    assert deployment.told("lexicon", "add", "en", "apple", "Apfel", "--yes")["utterances"] == 0
    deployment.told("lexicon", "remove", "en", "apple", "--yes")
    assert deployment.rows("clips") == []
    assert deployment.told("verify") == {"checked": 0, "faults": 0}
    assert urls(deployment, list_id) == before
    assert deployment.asked == []

    retake = deployment.command("retake", second["id"], "en", "--json")
    assert retake.returncode == (0 if is_ours else 1), retake.stderr
    if is_ours:
        assert deployment.card(second["id"])["audioEnUrl"] != second["audioEnUrl"]
        deployment.told("undo", second["id"], "en")
    else:
        assert "has audio from elsewhere, which is never replaced" in retake.stderr
    assert urls(deployment, list_id) == before

    deployment.go(api.add_job(list_id, options='{"force": true}'))
    now = urls(deployment, list_id)
    assert all(new != old_one for new, old_one in zip(now, before, strict=True)) == is_ours
    assert (now == before) == (not is_ours)

    for _ in range(3):
        api.rows(
            "UPDATE tts.clip SET stored_at = stored_at - interval '200 days', "
            "unused_since = unused_since - interval '2 days'"
        )
        api.rows("UPDATE tts.selection SET made_at = made_at - interval '200 days'")
        deployment.told("gc", "--yes")
    assert (deployment.folder / f"{first['id']}-en.mp3").read_bytes() == b"the old worker's"


def test_old_audio_that_is_forgotten_is_spoken_anew(deployment: Deployment, old: OldWorker) -> None:
    deployment.settings["PUBLIC_BASE_URL"] = CDN
    old.base_url = "https://old.example.com"
    list_id, other = (voiced_by_the_old_worker(deployment, old) for _ in range(2))
    before = urls(deployment, other)

    do(deployment.api, "Forget a list's old audio", LIST=list_id)
    deployment.go(deployment.api.add_job(list_id))

    assert all((url or "").startswith(f"{CDN}/v1-") for url in urls(deployment, list_id))
    assert urls(deployment, other) == before


# ── cut over, roll back, forward again ───────────────────────────────────────


@contextmanager
def poller(deployment: Deployment) -> Iterator[subprocess.Popen[str]]:
    variables = environment(**deployment.environ, POLL_INTERVAL_MS="50")
    process = subprocess.Popen(
        [*COMMAND, "poll"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_each_command_of_the_page_does_what_it_says(deployment: Deployment) -> None:
    assert COMMANDS == [
        "memolist-tts migrate", "memolist-tts doctor", "memolist-tts poll",
        'memolist-tts pause --why "Back to the old worker"', "memolist-tts status",
        "memolist-tts migrate", "memolist-tts resume",
    ]  # fmt: skip
    list_id = deployment.api.add_list(WORDS)

    assert "in place: 001_jobs_and_clips.sql" in deployment.command("migrate").stdout
    assert deployment.command("doctor").returncode == 0
    with poller(deployment) as process:
        *_, last = follow(deployment.api, deployment.api.add_job(list_id))
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert last.status == "completed"
    assert output.endswith("Stopped; what was left is handed back.\n")
    deployment.command("pause", "--why", "Back to the old worker")
    assert "Back to the old worker" in deployment.command("status").stdout
    assert "0 processing" in deployment.command("status").stdout
    assert "1 pause lifted" in deployment.command("resume").stdout


def test_a_cut_over_speaks_on_where_the_old_worker_died_and_leaves_our_runs_alone(
    deployment: Deployment, old: OldWorker
) -> None:
    api = deployment.api
    deployment.settings["PUBLIC_BASE_URL"] = CDN
    list_id = api.add_list(WORDS)
    left, running = api.add_job(list_id), api.add_job(api.add_list([("milk", "lait")]))
    assert deployment.worker().jobs.claim(running, lease_s=60) is not None
    old.set(left, "processing")
    next(old.speak(left))

    taken = do(api, "Take over what the old worker left")

    assert taken == [{"id": left}]
    report = deployment.go(left)
    assert (report.outcome, report.tally.kept, report.tally.spoken) == (Completed(), 1, 3)
    assert "apple" not in deployment.asked
    assert deployment.go(running).outcome == Idle()


def test_rolled_back_and_forward_again_nothing_is_spoken_twice(
    deployment: Deployment, old: OldWorker
) -> None:
    api = deployment.api
    deployment.settings["PUBLIC_BASE_URL"] = CDN
    spoken = api.add_list(WORDS)
    deployment.go(api.add_job(spoken))
    before = urls(deployment, spoken)
    # A run of ours that was killed, and one that was handed back.
    killed, waiting = (api.add_job(api.add_list([(w, f"{w} fr")])) for w in ("milk", "salt"))
    assert deployment.worker().jobs.claim(killed, lease_s=0.001) is not None
    deployment.command("pause", "--why", "Back to the old worker")
    assert deployment.go(waiting).outcome == Idle()

    do(api, "Leave nothing to ours")
    assert sorted(old.work()) == sorted([killed, waiting])
    old.set(left := api.add_job(api.add_list([("tea", "thé")])), "processing")
    deployment.command("resume")
    assert deployment.worker().jobs.waiting(10) == []
    # Also one that ours once held: its lease is forgotten.
    old.set(killed, "processing")
    assert deployment.worker().jobs.waiting(10) == []
    old.set(killed, "completed")

    assert do(api, "Take over what the old worker left") == [{"id": left}]
    copy = api.add_list(WORDS)
    deployment.go(left)
    report = deployment.go(api.add_job(copy))

    assert (report.tally.reused, report.tally.spoken) == (4, 0)
    assert urls(deployment, spoken) == before
    assert not set(deployment.asked) & set(old.spoken)


# ── side by side ─────────────────────────────────────────────────────────────

ROLES = ("memolist_old", "memolist_tts")


@pytest.fixture
def trial(deployment: Deployment) -> Iterator[OldWorker]:
    """The page's roles and policies, each worker with its own."""
    owner = connect(deployment.url)
    do(deployment.api, "A role for each worker", SECRET="secret")
    do(deployment.api, "Share out the jobs")
    deployment.settings |= {
        "PUBLIC_BASE_URL": CDN,
        "DATABASE_URL": as_role(deployment.url, "memolist_tts"),
    }
    with old_worker(as_role(deployment.url, "memolist_old")) as old:
        yield old
    deployment.stack.close()
    for role in ROLES:
        owner.run(f"DROP OWNED BY {role}")
        owner.run(f"DROP ROLE {role}")
    owner.close()


def as_role(url: str, role: str) -> str:
    return url.replace("//postgres@", f"//{role}@")


def later(minutes: int) -> datetime:
    """When a job is created, as the database holds it."""
    return datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=minutes)


def test_each_worker_sees_its_own_jobs_whatever_their_state(
    deployment: Deployment, trial: OldWorker
) -> None:
    api = deployment.api

    def job(user: str | None, minutes: int) -> str:
        return api.add_job(api.add_list(WORDS), userId=user, createdAt=later(minutes))

    do(api, "Move a user to ours", USER="anna")
    before, after, other, nobody = job("anna", 0), job("anna", 2), job("ben", 2), job(None, 2)
    ours = deployment.worker().jobs

    assert sorted(trial.pending()) == sorted([before, other, nobody])
    assert ours.waiting(10) == [after]
    for status in ("processing", "completed", "failed", "pending"):
        assert trial.set(before, status)
        assert not trial.set(after, status)

    do(api, "Move a user back", USER="anna")
    back = job("anna", 4)
    api.rows("UPDATE side.moved SET until = :until", until=later(3))
    assert sorted(trial.pending()) == sorted([before, other, nobody, back])
    assert ours.waiting(10) == [after]


def test_side_by_side_every_phrase_is_spoken_once(deployment: Deployment, trial: OldWorker) -> None:
    api = deployment.api
    do(api, "Move a user to ours", USER="anna")
    lists = {
        user: [api.add_list([(f"{user} {n}", f"{user} {n} fr")]) for n in ("one", "two")]
        for user in ("anna", "ben")
    }
    ids = {
        user: [api.add_job(each, userId=user, createdAt=later(2)) for each in lists[user]]
        for user in lists
    }

    with poller(deployment):
        # What it read before ours began is still its own.
        assert sorted(trial.work()) == sorted(ids["ben"])
        for job_id in ids["anna"]:
            *_, last = follow(api, job_id)
            assert last.status == "completed", last.why

    assert sorted(deployment.asked) == sorted(
        f"anna {n}{fr}" for n in ("one", "two") for fr in ("", " fr")
    )
    assert sorted(trial.spoken) == sorted(
        f"ben {n}{fr}" for n in ("one", "two") for fr in ("", " fr")
    )
    for user, base in (("anna", CDN), ("ben", OLD_URL)):
        assert all(
            (url or "").startswith(base) for each in lists[user] for url in urls(deployment, each)
        )


@pytest.mark.usefixtures("trial")
def test_the_page_tells_who_is_held_to_his_rows(deployment: Deployment) -> None:
    told = {}
    for role in ("postgres", *ROLES):
        with Api(as_role(deployment.url, role)) as api:
            told[role] = do(api, "Is it held to its rows?")

    assert told == {"postgres": [{"held": False}]} | {role: [{"held": True}] for role in ROLES}
    assert deployment.command("doctor").returncode == 0


def test_the_end_of_the_trial_leaves_all_jobs_to_ours(
    deployment: Deployment, trial: OldWorker
) -> None:
    api = deployment.api
    do(api, "Move a user to ours", USER="anna")
    jobs = [
        api.add_job(api.add_list(WORDS), userId=user, createdAt=later(2))
        for user in ("anna", "ben")
    ]
    trial.set(jobs[1], "processing")

    ours = deployment.worker().jobs
    assert ours.waiting(10) == [jobs[0]]

    do(api, "End the trial")
    assert do(api, "Take over what the old worker left") == [{"id": jobs[1]}]

    found = ours.waiting(10)
    assert sorted(found) == sorted(jobs)
