"""The whole worker: real PostgreSQL, real speech over HTTP, real storage."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from local.api import Api, Row, audio_urls
from local.postgres import connect
from local.schema import MINIMAL, STATUSES, Shape
from local.speech import SpeechServer
from memolist_tts.assemble import Worker
from memolist_tts.cli import app
from memolist_tts.core import speaking
from memolist_tts.core.errors import StorageError
from memolist_tts.core.key import audio_key
from memolist_tts.core.model import Completed, Failed, HandedBack, Idle, Lost, Options, Report
from memolist_tts.core.mp3 import walk
from memolist_tts.core.ports import Storage
from memolist_tts.postgres import connection
from memolist_tts.settings import Needs, Settings
from tests.conftest import ROUTE, Bucket

BASE_URL = "https://cdn.example.com/audio"
FOREIGN_URL = "https://elsewhere.example.com/recording.mp3"
WORDS = [("apple", "pomme"), ("bread", "pain")]
PATIENCE_S = 30.0


@dataclass
class Place:
    """One deployment: a database with the API's tables, a provider, a folder."""

    url: str
    api: Api
    speech: SpeechServer
    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)

    def worker(self, **environ: str) -> Worker:
        plain = {
            "DATABASE_URL": self.url,
            "OPENAI_BASE_URL": self.speech.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TTS_PROVIDER": ROUTE,
            "LOCAL_STORAGE_PATH": str(self.folder),
            "PUBLIC_BASE_URL": BASE_URL,
            "FLUSH_SECONDS": "0.1",
        }
        worker = Worker(Settings.load(Needs.WORKER, environ=plain | environ))
        self.stack.callback(worker.database.close)
        return worker

    def run(self, job_id: str, seconds: float = 60, **environ: str) -> Report:
        return run(self.worker(**environ), job_id, seconds)

    def job_over(self, phrases: Sequence[Sequence[str]], **columns: object) -> tuple[str, str]:
        """A new list and a job over it."""
        list_id = self.api.add_list(phrases)
        return list_id, self.api.add_job(list_id, **columns)

    def ours(self, job_id: str) -> Row:
        return self.api.rows("SELECT * FROM tts.job WHERE job_id = :id", id=job_id)[0]

    def ends(self, job_id: str) -> dict[str, tuple[str, str | None]]:
        """How each text ended: state and code."""
        rows = self.api.rows("SELECT * FROM tts.utterance WHERE job_id = :id", id=job_id)
        return {row["shown_text"]: (row["state"], row["code"]) for row in rows}

    def said(self, url: str | None) -> str:
        """The text that was read for the clip at a card's URL."""
        rows = self.api.rows("SELECT object_name, spoken_text FROM tts.clip")
        texts = {f"{BASE_URL}/{row['object_name']}": row["spoken_text"] for row in rows}
        return str(texts[url or ""])


def run(worker: Worker, job_id: str, seconds: float = 60) -> Report:
    return worker.run(job_id, seconds=seconds, halt=threading.Event(), lease_s=5)


NewPlace = Callable[..., Place]


@pytest.fixture
def new_place(
    new_database: Callable[..., str], speech_server: SpeechServer, tmp_path: Path
) -> Iterator[NewPlace]:
    with ExitStack() as stack:

        def create(shape: Shape | None = None, time_zone: str = "UTC") -> Place:
            url = new_database(shape)
            name = url.rsplit("/", 1)[1].split("?")[0]
            connection = connect(url)
            connection.run(f"ALTER DATABASE \"{name}\" SET timezone = '{time_zone}'")
            connection.close()
            api = stack.enter_context(Api(url, shape))
            return Place(url, api, speech_server, tmp_path / "audio", stack)

        yield create


@pytest.fixture
def place(new_place: NewPlace) -> Place:
    return new_place()


def each_charged_once(speech: SpeechServer) -> bool:
    return {charge.take for charge in speech.charges} == {1}


def test_a_job_ends_completed_with_sound_clips_at_its_cards_urls(place: Place) -> None:
    list_id, job_id = place.job_over(WORDS)

    report = place.run(job_id)

    assert report.outcome == Completed()
    job = place.api.job(job_id)
    assert (job["status"], job["totalCount"], job["doneCount"]) == ("completed", 4, 4)
    urls = [url for card in place.api.cards(list_id) for url in audio_urls(card)]
    assert [place.said(url) for url in urls] == ["apple", "pomme", "bread", "pain"]
    for url in urls:
        assert url is not None
        clip = place.folder / url.removeprefix(f"{BASE_URL}/")
        assert walk(clip.read_bytes()).duration_ms > 100


def test_a_job_stores_its_clips_in_s3(
    place: Place, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    list_id, job_id = place.job_over(WORDS)

    report = place.run(job_id, STORAGE_TYPE="s3", AWS_S3_BUCKET=s3.name)

    assert report.outcome == Completed()
    urls = {url for card in place.api.cards(list_id) for url in audio_urls(card)}
    assert urls == {f"{BASE_URL}/{name}" for name in s3.objects()}
    assert len(urls) == 4
    assert all(walk(audio).duration_ms > 100 for audio in s3.objects().values())


def test_a_second_job_over_the_list_or_a_copy_of_it_is_charged_nothing(place: Place) -> None:
    list_id, job_id = place.job_over(WORDS)
    place.run(job_id)
    charged = len(place.speech.charges)
    copy_id, copy_job = place.job_over(WORDS)

    again = place.run(place.api.add_job(list_id))
    copied = place.run(copy_job)

    assert (again.outcome, again.tally.kept) == (Completed(), 4)
    assert (copied.outcome, copied.tally.reused) == (Completed(), 4)
    assert len(place.speech.charges) == charged == 4
    assert [audio_urls(card) for card in place.api.cards(copy_id)] == [
        audio_urls(card) for card in place.api.cards(list_id)
    ]


SHAPES = {
    "as_prisma_makes_it": Shape(),
    "uuid_ids": Shape(id_type="uuid"),
    "text_status": Shape(status_type="text"),
    "timestamptz": Shape(time_type="timestamptz"),
    "another_schema": Shape(schema="app"),
    "all_other_ways": Shape(
        id_type="uuid", status_type="text", time_type="timestamptz", schema="app"
    ),
    "minimal": MINIMAL,
}


@pytest.mark.parametrize("time_zone", ["UTC", "Pacific/Auckland"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_each_shape_of_the_tables_gets_its_times_in_utc_and_its_counts(
    new_place: NewPlace, shape: Shape, time_zone: str
) -> None:
    place = new_place(shape, time_zone)
    list_id, job_id = place.job_over([("apple", "pomme")])

    place.run(job_id)

    job = place.api.job(job_id)
    assert job["status"] == "completed"
    assert all(audio_urls(place.api.cards(list_id)[0]))
    for column in {"startedAt", "updatedAt", "completedAt"} & job.keys():
        assert abs(as_utc(job[column]) - datetime.now(UTC)) < timedelta(minutes=1), column
    counts = {name: job[name] for name in ("totalCount", "doneCount", "failedCount") if name in job}
    assert counts in ({"totalCount": 2, "doneCount": 2, "failedCount": 0}, {})


def as_utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


@pytest.mark.parametrize("force", [False, True])
def test_audio_from_elsewhere_is_never_replaced(place: Place, force: bool) -> None:
    list_id, job_id = place.job_over(WORDS, options=json.dumps({"force": force}))
    place.api.rows('UPDATE "Card" SET "audioEnUrl" = :url WHERE position = 0', url=FOREIGN_URL)

    report = place.run(job_id)

    assert (report.outcome, report.tally.kept) == (Completed(), 1)
    first, second = place.api.cards(list_id)
    assert first["audioEnUrl"] == FOREIGN_URL
    assert [place.said(url) for url in (first["audioFrUrl"], *audio_urls(second))] == [
        "pomme",
        "bread",
        "pain",
    ]


@contextmanager
def held_run(place: Place, job_id: str) -> Iterator[Callable[[], Report]]:
    """A run whose four requests are all at the provider, which answers them on release."""
    place.speech.add_fault("hold")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(place.run, job_id)

        def release() -> Report:
            place.speech.clear_faults()
            return running.result(PATIENCE_S)

        try:
            assert place.speech.wait_for_in_flight(4, PATIENCE_S)
            yield release
        finally:
            place.speech.clear_faults()


def test_a_card_edited_while_it_is_spoken_gets_audio_of_its_new_text(place: Place) -> None:
    list_id, job_id = place.job_over(WORDS)
    with held_run(place, job_id) as release:
        place.api.rows("""UPDATE "Card" SET "textEn" = 'pear' WHERE position = 0""")

        report = release()

    assert report.outcome == Completed()
    first, second = place.api.cards(list_id)
    assert [place.said(url) for url in audio_urls(first)] == ["pear", "pomme"]
    assert [place.said(url) for url in audio_urls(second)] == ["bread", "pain"]
    assert place.api.job(job_id)["doneCount"] == 4


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_a_job_cancelled_while_it_is_spoken_stays_so(new_place: NewPlace, status: str) -> None:
    place = new_place(Shape(statuses=(*STATUSES, "cancelled")))
    list_id, job_id = place.job_over(WORDS)
    with held_run(place, job_id) as release:
        place.api.rows(f"""UPDATE "TtsJob" SET status = '{status}'""")

        report = release()

    assert report.outcome == Lost()
    assert place.api.job(job_id)["status"] == status
    assert not any(url for card in place.api.cards(list_id) for url in audio_urls(card))


def test_a_second_worker_leaves_a_running_job_alone(place: Place) -> None:
    _, job_id = place.job_over(WORDS)
    with held_run(place, job_id) as release:
        second = place.run(job_id)

        first = release()

    assert (first.outcome, second.outcome) == (Completed(), Idle())
    assert len(place.speech.charges) == 4


def run_at_once(place: Place, job_ids: Sequence[str]) -> list[Report]:
    """One worker a job, all starting together."""
    barrier = threading.Barrier(len(job_ids))

    def one(job_id: str) -> Report:
        worker = place.worker()
        barrier.wait(PATIENCE_S)
        return run(worker, job_id)

    with ThreadPoolExecutor(len(job_ids)) as pool:
        return list(pool.map(one, job_ids))


def test_two_workers_that_race_for_a_job_are_charged_once_for_each_phrase(place: Place) -> None:
    place.speech.set_latency(0.3)
    _, job_id = place.job_over(WORDS)

    reports = run_at_once(place, [job_id, job_id])

    assert {type(report.outcome) for report in reports} <= {Completed, Idle}
    assert place.api.job(job_id)["status"] == "completed"
    assert len(place.speech.charges) == 4
    assert each_charged_once(place.speech)


def test_two_jobs_with_the_same_phrases_are_charged_once_for_each(place: Place) -> None:
    # Slow enough for both to want the same phrases at the same time.
    place.speech.set_latency(0.3)
    lists, jobs = zip(*(place.job_over(WORDS) for _ in range(2)), strict=True)

    reports = run_at_once(place, jobs)

    assert [report.outcome for report in reports] == [Completed(), Completed()]
    first, second = ([audio_urls(card) for card in place.api.cards(each)] for each in lists)
    assert first == second
    assert len(place.speech.charges) == 4
    assert each_charged_once(place.speech)


def test_texts_that_cant_be_spoken_carry_their_codes_and_the_rest_is_spoken(
    place: Place,
) -> None:
    place.speech.add_fault("refused", match="curse")
    place.speech.add_fault("silent", match="mumble")
    place.speech.add_fault("unavailable", match="outage")
    list_id, job_id = place.job_over(
        [("apple", "pomme"), ("curse", "..."), ("mumble", " "), ("outage", "pain")]
    )

    report = place.run(job_id)

    assert isinstance(report.outcome, Failed)
    assert place.ends(job_id) == {
        "apple": ("spoken", None),
        "pomme": ("spoken", None),
        "pain": ("spoken", None),
        "...": ("skipped", "only_punctuation"),
        " ": ("skipped", "blank"),
        "curse": ("failed", "refused"),
        "mumble": ("failed", "bad_audio"),
        "outage": ("failed", "provider_down"),
    }
    assert [[bool(url) for url in audio_urls(card)] for card in place.api.cards(list_id)] == [
        [True, True],
        [False, False],
        [False, False],
        [False, True],
    ]
    job = place.api.job(job_id)
    assert (job["status"], job["totalCount"], job["doneCount"], job["failedCount"]) == (
        "failed",
        8,
        5,
        3,
    )
    assert "3 of 8" in job["errorMessage"]


def test_a_list_over_the_limit_fails_and_nobody_is_asked(place: Place) -> None:
    _, job_id = place.job_over([*WORDS, ("cheese", "fromage")])

    report = place.run(job_id, MAX_PHRASES_PER_JOB="2")

    assert isinstance(report.outcome, Failed)
    job = place.api.job(job_id)
    assert job["status"] == "failed"
    assert "3 cards" in job["errorMessage"]
    assert "MAX_PHRASES_PER_JOB" in job["errorMessage"]
    assert place.speech.requests == []


def test_without_money_all_jobs_wait_and_a_retry_takes_them_up_again(place: Place) -> None:
    _, job_id = place.job_over(WORDS)
    _, other_id = place.job_over([("cheese", "fromage")])
    place.speech.add_fault("insufficient_quota")

    report = place.run(job_id)

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "out_of_quota"
    assert place.api.job(job_id)["status"] == "pending"
    assert place.ours(job_id)["attempts"] == 0
    assert [row["code"] for row in place.api.rows("SELECT code FROM tts.pause")] == ["out_of_quota"]
    assert place.run(other_id).outcome == Idle()

    place.speech.clear_faults()
    assert place.worker().operator.retry([job_id])

    assert place.run(job_id).outcome == Completed()
    assert place.run(other_id).outcome == Completed()
    assert each_charged_once(place.speech)


def test_a_provider_that_asks_for_rest_gets_it_and_the_job_completes(place: Place) -> None:
    _, job_id = place.job_over(WORDS)
    place.speech.add_fault("throttled", times=2, retry_after="1", retry_after_ms="1000")

    report = place.run(job_id, MAX_IN_FLIGHT="1")

    assert report.outcome == Completed()
    assert report.tally.throttled == 2
    # A realtime session's opening is no request for speech.
    answers = [answer for answer in place.speech.requests if answer.status != 101]
    assert [answer.status for answer in answers] == [429, 429, 200, 200, 200, 200]
    rests_s = [answers[nth + 1].time - answers[nth].time for nth in range(2)]
    assert min(rests_s) > 0.9
    assert each_charged_once(place.speech)


def test_a_run_out_of_time_costs_no_attempt_and_the_next_one_ends_the_job(place: Place) -> None:
    list_id, job_id = place.job_over([(f"number {n}", f"numéro {n}") for n in range(20)])
    place.speech.set_latency(0.4)

    report = place.run(job_id, seconds=5, MAX_IN_FLIGHT="1")

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "out_of_time"
    assert place.api.job(job_id)["status"] == "pending"
    assert place.ours(job_id)["attempts"] == 0
    charged = len(place.speech.charges)
    assert 0 < charged < 40
    assert 0 < place.api.job(job_id)["doneCount"] <= charged

    place.speech.set_latency(0.0)

    assert place.run(job_id).outcome == Completed()
    assert all(url for card in place.api.cards(list_id) for url in audio_urls(card))
    assert len(place.speech.charges) == 40
    assert each_charged_once(place.speech)


@pytest.fixture
def command(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command of the operator's over this place's database."""
    monkeypatch.setenv("DATABASE_URL", place.url)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_retry_speaks_only_what_failed(place: Place, command: Callable[..., Any]) -> None:
    place.speech.add_fault("refused", match="bread")
    list_id, job_id = place.job_over(WORDS)
    place.run(job_id)
    place.speech.clear_faults()

    answer = command("retry", job_id)

    assert (answer.exit_code, answer.output) == (0, f"{job_id}: pending\n")
    job = place.api.job(job_id)
    assert (job["status"], job["errorMessage"], job["completedAt"]) == ("pending", None, None)
    assert place.run(job_id).outcome == Completed()
    assert place.said(place.api.cards(list_id)[1]["audioEnUrl"]) == "bread"
    assert sorted(charge.input for charge in place.speech.charges) == [
        "apple",
        "bread",
        "pain",
        "pomme",
    ]


def test_retry_of_a_completed_job_changes_nothing(
    place: Place, command: Callable[..., Any]
) -> None:
    _, job_id = place.job_over(WORDS)
    place.run(job_id)

    answer = command("retry", job_id)

    assert answer.exit_code != 0
    assert "completed" in str(answer.exception)
    assert place.api.job(job_id)["status"] == "completed"


def test_cancel_ends_a_job_while_it_is_spoken(place: Place, command: Callable[..., Any]) -> None:
    _, job_id = place.job_over(WORDS)
    with held_run(place, job_id) as release:
        answer = command("cancel", job_id)

        report = release()

    assert answer.exit_code == 0
    assert report.outcome == Lost()
    job = place.api.job(job_id)
    assert (job["status"], place.ours(job_id)["error_code"]) == ("failed", "cancelled")
    assert "retry" in job["errorMessage"]
    assert place.run(job_id).outcome == Idle()


def test_a_job_cancelled_while_it_is_spoken_and_retried_pays_for_nothing_twice(
    place: Place, command: Callable[..., Any]
) -> None:
    _, job_id = place.job_over(WORDS)
    with held_run(place, job_id) as release:
        command("cancel", job_id)
        release()
    command("retry", job_id)

    report = place.run(job_id)

    assert report.outcome == Completed()
    assert len(place.speech.charges) == 4
    assert each_charged_once(place.speech)


def test_a_cancelled_job_that_is_retried_completes(
    place: Place, command: Callable[..., Any]
) -> None:
    _, job_id = place.job_over(WORDS)
    command("cancel", job_id)
    assert place.run(job_id).outcome == Idle()

    command("retry", job_id)

    assert place.run(job_id).outcome == Completed()
    assert place.ours(job_id)["error_code"] is None


def test_a_forced_job_speaks_again_what_is_ours_under_new_urls(place: Place) -> None:
    list_id, job_id = place.job_over(WORDS)
    place.run(job_id)
    before = [audio_urls(card) for card in place.api.cards(list_id)]

    report = place.run(place.api.add_job(list_id, options=json.dumps({"force": True})))

    assert (report.outcome, report.tally.spoken) == (Completed(), 4)
    after = [audio_urls(card) for card in place.api.cards(list_id)]
    assert {url for urls in after for url in urls}.isdisjoint(
        url for urls in before for url in urls
    )
    assert len(place.speech.charges) == 8


def test_a_job_whose_voice_the_provider_refuses_fails_alone(place: Place) -> None:
    _, job_id = place.job_over(WORDS, options=json.dumps({"voice": "nobody"}))
    _, other_id = place.job_over(WORDS)

    report = place.run(job_id)

    assert isinstance(report.outcome, Failed)
    told = place.api.job(job_id)["errorMessage"]
    assert told.startswith("The provider refuses options.voice = nobody: ")
    assert told.endswith(" Set options.voice to one that it offers, or leave it out.")
    # Whoever made the job can't change the deployment.
    assert not re.search("TTS_|OPENAI_BASE_URL|2027", told)
    assert place.run(other_id).outcome == Completed()


def test_a_job_deleted_while_it_is_spoken_is_let_go(place: Place) -> None:
    _, job_id = place.job_over(WORDS)
    with held_run(place, job_id) as release:
        place.api.rows('DELETE FROM "TtsJob"')

        report = release()

    assert report.outcome == Lost()
    assert place.api.rows('SELECT * FROM "TtsJob"') == []


def test_a_worker_asked_to_end_keeps_what_is_under_way_and_costs_no_attempt(place: Place) -> None:
    _, job_id = place.job_over(WORDS)
    halt = threading.Event()
    place.speech.add_fault("hold")
    worker = place.worker(MAX_IN_FLIGHT="2")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(worker.run, job_id, seconds=60, halt=halt, lease_s=5)
        try:
            assert place.speech.wait_for_in_flight(2, PATIENCE_S)
            halt.set()
        finally:
            place.speech.clear_faults()
        report = running.result(PATIENCE_S)

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "terminated"
    assert (place.api.job(job_id)["status"], place.ours(job_id)["attempts"]) == ("pending", 0)
    assert place.run(job_id).outcome == Completed()
    assert len(place.speech.charges) == 4
    assert each_charged_once(place.speech)


def test_a_paused_worker_claims_nothing_until_it_is_resumed(
    place: Place, command: Callable[..., Any]
) -> None:
    _, job_id = place.job_over(WORDS)
    command("pause", "--why", "for lunch")
    assert place.run(job_id).outcome == Idle()
    assert place.api.job(job_id)["status"] == "pending"

    command("resume")

    assert place.run(job_id).outcome == Completed()


def test_an_empty_url_is_no_audio_and_is_filled(place: Place) -> None:
    list_id, job_id = place.job_over(WORDS)
    place.api.rows("""UPDATE "Card" SET "audioEnUrl" = ''""")

    assert place.run(job_id).outcome == Completed()

    assert all(url for card in place.api.cards(list_id) for url in audio_urls(card))


def test_texts_that_sql_or_json_could_misread_are_spoken_as_they_are(place: Place) -> None:
    texts = [("null", "Null"), ('say "hello"', "l'été {a, b}"), ("back\\slash", "NULL")]
    _, job_id = place.job_over(texts)

    assert place.run(job_id).outcome == Completed()

    assert set(place.ends(job_id)) == {text for pair in texts for text in pair}


@pytest.mark.parametrize("options", ['"x"', "[1]", '{"speed": "fast"}'])
def test_bad_options_fail_their_job_with_the_field_named(place: Place, options: str) -> None:
    _, job_id = place.job_over(WORDS, options=options)

    report = place.run(job_id)

    assert isinstance(report.outcome, Failed)
    assert report.outcome.code == "bad_options"
    assert "options" in place.api.job(job_id)["errorMessage"]
    assert place.speech.charges == []


def test_an_error_is_cut_to_what_the_apis_column_takes(place: Place) -> None:
    place.api.rows("""ALTER TABLE "TtsJob" ALTER "errorMessage" TYPE varchar(40)""")
    _, job_id = place.job_over(WORDS)

    place.run(job_id, MAX_PHRASES_PER_JOB="1")

    job = place.api.job(job_id)
    assert (job["status"], len(job["errorMessage"])) == ("failed", 40)


def test_a_provider_that_falls_over_midway_hands_the_rest_back(place: Place) -> None:
    texts = [(f"This is phrase {n}.", f"Voici la phrase {n}.") for n in "abcdefghij"]
    _, job_id = place.job_over(texts)
    place.speech.add_fault("server_error", match="^(?!This is phrase [ab])")

    report = place.run(job_id)

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "provider_down"
    assert place.api.job(job_id)["status"] == "pending"
    assert place.ours(job_id)["attempts"] == 0


def test_a_wrong_model_of_the_deployment_is_no_fault_of_a_job_with_a_voice(place: Place) -> None:
    _, job_id = place.job_over(WORDS, options='{"voice": "nova"}')

    report = place.run(job_id, TTS_MODEL="gpt-gone")

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "misconfigured"
    assert place.api.job(job_id)["status"] == "pending"


def test_nothing_is_paid_for_where_it_cant_be_kept(
    place: Place, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    _, job_id = place.job_over(WORDS)

    report = place.run(job_id, STORAGE_TYPE="s3", AWS_S3_BUCKET="no-such-bucket-here")

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "storage_down"
    assert "AWS_S3_BUCKET" in report.outcome.stop.message
    assert place.speech.charges == []


def test_a_failed_job_that_the_api_makes_pending_again_tries_what_failed(place: Place) -> None:
    place.speech.add_fault("refused", match="bread")
    _, job_id = place.job_over(WORDS)
    place.run(job_id)
    place.speech.clear_faults()
    charged = len(place.speech.charges)
    place.api.rows("""UPDATE "TtsJob" SET status = 'pending'""")

    assert place.run(job_id).outcome == Completed()

    assert [charge.input for charge in place.speech.charges[charged:]] == ["bread"]


@pytest.mark.parametrize("spelling", [str.upper, "{{{}}}".format, "urn:uuid:{}".format])
def test_a_job_is_known_by_any_spelling_of_its_id(
    new_place: NewPlace, spelling: Callable[[str], str]
) -> None:
    place = new_place(Shape(id_type="uuid"))
    place.speech.add_fault("refused", match="bread")
    _, job_id = place.job_over(WORDS)
    place.run(spelling(job_id))
    place.speech.clear_faults()
    operator = place.worker().operator
    assert operator.look(spelling(job_id)).status == "failed"
    assert list(operator.retry([spelling(job_id)])) == [job_id]
    assert operator.cancel(spelling(job_id))
    place.api.rows("""UPDATE "TtsJob" SET status = 'pending'""")

    report = place.run(spelling(job_id))

    assert report.outcome == Completed()
    assert {state for state, _ in place.ends(job_id).values()} == {"spoken"}
    assert place.api.rows("SELECT count(*) AS jobs FROM tts.job") == [{"jobs": 1}]


def failing_puts(storage: Storage, count: int) -> Storage:
    """`storage`, whose first `count` puts fail, as a bucket that asks to slow down."""
    real, left = storage.put, [None] * count

    def put(name: str, mp3: bytes) -> bool:
        if left:
            left.pop()
            raise StorageError("slow down")
        return real(name, mp3)

    storage.put = put  # type: ignore[method-assign]
    return storage


def test_a_clip_that_cant_be_stored_at_once_is_put_again_not_paid_again(place: Place) -> None:
    worker = place.worker()
    worker.__dict__["storage"] = failing_puts(worker.storage, 4)
    _, job_id = place.job_over(WORDS)

    report = run(worker, job_id)

    assert report.outcome == Completed()
    assert each_charged_once(place.speech)
    assert len(place.speech.charges) == 4


def test_a_clip_that_the_store_cut_fails_its_card_alone_and_says_what_to_delete(
    place: Place,
) -> None:
    worker = place.worker(MAX_IN_FLIGHT="1")
    real, left = worker.storage.put, [None]

    def put(name: str, mp3: bytes) -> bool:
        if not left:
            return real(name, mp3)
        left.pop()
        real(name, mp3[:1000])
        raise StorageError("the connection broke off")

    worker.storage.put = put  # type: ignore[method-assign]
    _, job_id = place.job_over(WORDS)

    report = run(worker, job_id)

    assert isinstance(report.outcome, Failed)
    states = Counter(state for state, _ in place.ends(job_id).values())
    assert states == {"spoken": 3, "failed": 1}
    (failure,) = place.api.rows("SELECT code, message FROM tts.failure")
    assert failure["code"] == "internal"
    assert "Delete that object, then retry the job." in failure["message"]


def test_an_answer_that_never_ends_is_given_up_and_the_rest_is_spoken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "LONGEST_CALL_S", 1.0)
    place.speech.add_fault("drip", match="bread")
    _, job_id = place.job_over(WORDS)

    report = place.run(job_id)

    assert isinstance(report.outcome, Failed)
    assert place.ends(job_id)["bread"] == ("failed", "provider_down")
    assert [state for state, _ in place.ends(job_id).values()].count("spoken") == 3


def test_a_database_that_is_locked_away_costs_no_attempt(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BEGIN", connection.BEGIN.replace("'20s'", "'200ms'"))
    _, job_id = place.job_over(WORDS)
    place.run(place.job_over([("warm", "chaud")])[1])
    with connect(place.url) as blocker:
        blocker.run("BEGIN")
        blocker.run('LOCK TABLE "Card"')

        report = place.run(job_id)

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "database_down"
    assert place.ours(job_id)["attempts"] == 0
    assert place.api.job(job_id)["status"] == "pending"


BLOCKED = """
SELECT 1 AS x FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
class FullOnce:
    """A store whose disk is full at the first clip; somebody cancels the job meanwhile."""

    def __init__(self, storage: Storage, place: Place) -> None:
        self._storage = storage
        self._place = place
        self.prove, self.read = storage.prove, storage.read
        self.url, self.owns = storage.url, storage.owns
        self.stored = threading.Event()
        self._puts = 0

    def put(self, name: str, mp3: bytes) -> bool:
        self._puts += 1
        if self._puts == 1:
            with Api(self._place.url) as api:
                api.rows("""UPDATE "TtsJob" SET status = 'failed'""")
            raise StorageError("The disk is full")
        is_new = self._storage.put(name, mp3)
        self.stored.set()
        return is_new


DEAD_CLIP = """
INSERT INTO tts.clip (key, take, object_name, provider, model, voice, language, spoken_text,
                      characters, speaker, speaker_job)
SELECT key, 0, '', '', '', '', '', '', 0, gen_random_uuid(), 'dead'
FROM unnest(cast(:keys AS text[])) AS key
"""


def test_a_run_kept_waiting_for_a_lock_takes_no_clip_that_was_claimed_meanwhile(
    place: Place,
) -> None:
    worker = place.worker()
    voice = worker.voice("en", Options())
    keys = {audio_key([worker.request(word, voice)]): word for word in ("apple", "bread")}
    (first_key, first), (_, last) = sorted(keys.items())
    _, both = place.job_over([(first, ""), (last, "")])
    _, one = place.job_over([(last, "")])
    place.api.rows(DEAD_CLIP, keys=[first_key])
    place.speech.add_fault("hold")
    with connect(place.url) as blocker, ThreadPoolExecutor() as pool:
        blocker.run("BEGIN")
        blocker.run("UPDATE tts.clip SET held_until = NULL")
        waiting = pool.submit(place.run, both)
        while not place.api.rows(BLOCKED):
            assert not waiting.done()
        speaking = pool.submit(place.run, one)
        assert place.speech.wait_for_in_flight(1, PATIENCE_S)
        blocker.run("COMMIT")
        assert place.speech.wait_for_in_flight(2, PATIENCE_S)
        place.speech.clear_faults()

        outcomes = [waiting.result(PATIENCE_S).outcome, speaking.result(PATIENCE_S).outcome]

    assert outcomes == [Completed(), Completed()]
    assert sorted(charge.input for charge in place.speech.charges) == ["apple", "bread"]


def test_a_clip_that_a_dead_run_stored_is_found_even_after_a_run_without_time_to_look(
    place: Place,
) -> None:
    worker = place.worker()
    list_id, job_id = place.job_over([("apple", "")])
    place.run(job_id)
    key = audio_key([worker.request("apple", worker.voice("en", Options()))])
    # As if that run had died before it could write down what it stored.
    place.api.rows("DELETE FROM tts.utterance")
    place.api.rows("DELETE FROM tts.clip")
    place.api.rows(DEAD_CLIP, keys=[key])
    place.api.rows('UPDATE "Card" SET "audioEnUrl" = NULL')
    again = place.api.add_job(list_id)
    halt = threading.Event()
    halt.set()

    hurried = worker.run(again, seconds=60, halt=halt)
    calm = place.run(again)

    assert isinstance(hurried.outcome, HandedBack)
    assert (calm.outcome, calm.tally.reused) == (Completed(), 1)
    assert len(place.speech.charges) == 1


@pytest.mark.skipif(ROUTE != "endpoint", reason="only there an answer is nothing but sound")
def test_of_an_answer_that_closes_without_an_end_another_take_is_made_and_the_whole_one_kept(
    place: Place,
) -> None:
    # In a pause of the speech, between two frames: as sound it can't be told from a whole clip.
    text = "61: The house is green."
    place.speech.add_fault("cut_unframed", at=0.6, times=1)
    _, job_id = place.job_over([(text, "")])

    report = place.run(job_id)

    assert (report.outcome, report.tally.retaken) == (Completed(), 1)
    _, whole = place.speech.charges
    (clip,) = place.api.rows("SELECT duration_ms FROM tts.clip")
    assert clip["duration_ms"] == pytest.approx(1000 * (whole.seconds or 0), abs=100)


def test_a_take_that_could_be_better_is_kept_when_the_provider_wants_rest(place: Place) -> None:
    place.speech.add_fault("cut_speech", at=0.55, times=1)
    # A realtime session's events have no headers: there the wait is told in words.
    words = "Rate limit reached. Please try again in 120s."
    place.speech.add_fault("throttled", retry_after="120", message=words, times=1)
    _, job_id = place.job_over([("apple", "")])

    report = place.run(job_id)

    # Nothing is left that would have to wait for it.
    assert report.outcome == Completed()
    assert (report.tally.spoken, report.tally.throttled) == (1, 1)
    assert place.ends(job_id)["apple"] == ("spoken", None)


def test_a_paid_clip_that_could_not_be_stored_gets_a_last_chance_when_the_job_is_cancelled(
    place: Place,
) -> None:
    worker = place.worker()
    worker.storage = full_once = FullOnce(worker.storage, place)
    list_id, job_id = place.job_over([("apple", "")])

    report = run(worker, job_id)
    full_once.stored.wait(PATIENCE_S)
    place.api.rows("""UPDATE "TtsJob" SET status = 'pending'""")
    again = place.run(job_id)

    assert (report.outcome, again.outcome) == (Lost(), Completed())
    assert len(place.speech.charges) == 1
    assert place.said(audio_urls(place.api.cards(list_id)[0])[0]) == "apple"


@pytest.mark.skipif(ROUTE == "realtime", reason="its samples are made MP3 here")
def test_a_server_that_sends_no_mp3_is_the_deployments_fault_not_the_cards(place: Place) -> None:
    place.speech.add_fault("wav")
    _, job_id = place.job_over(WORDS)

    report = place.run(job_id)

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "misconfigured"
    assert "MP3" in report.outcome.stop.message
    assert not any(state == "failed" for state, _ in place.ends(job_id).values())
