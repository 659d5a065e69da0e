"""Users take turns: whoever has fifty jobs doesn't hold up who has one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from command import PATIENCE_S

from local.api import Api
from local.job import follow
from local.schema import MINIMAL
from local.speech import SpeechServer
from memolist_tts.assemble import Worker
from memolist_tts.core.model import Completed, HandedBack, Report
from memolist_tts.poll import poll
from memolist_tts.settings import Needs, Settings

CARDS, IN_FLIGHT = 4, 2


@dataclass
class Place:
    """A database, a provider, and workers that poll."""

    api: Api
    worker: Worker
    speech: SpeechServer
    reports: list[Report | Exception] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    halt: threading.Event = field(default_factory=threading.Event)

    def job(self, user: str, cards: int = CARDS) -> str:
        name = f"{user} {next(self.numbers)}"
        texts = [(f"The card {n} of {name}.", f"La carte {n} de {name}.") for n in range(cards)]
        list_id = self.api.add_list(texts)
        return self.api.add_job(list_id, userId=user)

    def tell(self, report: Report | Exception) -> None:
        self.reports.append(report)

    def run(self) -> threading.Thread:
        thread = threading.Thread(target=poll, args=(self.worker, self.halt, self.tell))
        thread.start()
        return thread

    @property
    def served(self) -> list[str]:
        return [report.job_id for report in self.reports if isinstance(report, Report)]


@pytest.fixture
def place(
    new_database: Callable[..., str], speech_server: SpeechServer, tmp_path: Path
) -> Iterator[Place]:
    url = new_database()
    variables = {
        "DATABASE_URL": url, "OPENAI_BASE_URL": speech_server.base_url, "OPENAI_API_KEY": "none",
        "STORAGE_TYPE": "local", "LOCAL_STORAGE_PATH": str(tmp_path), "FLUSH_SECONDS": "0.1",
        "POLL_INTERVAL_MS": "50", "MAX_IN_FLIGHT": str(IN_FLIGHT),
    }  # fmt: skip
    worker = Worker(Settings.load(Needs.WORKER, variables))
    with Api(url) as api:
        place = Place(api, worker, speech_server)
        yield place
        place.halt.set()


def test_of_each_user_the_oldest_job_comes_before_anybody_s_second(place: Place) -> None:
    many = [place.job("busy") for _ in range(50)]
    one = place.job("quiet")

    assert place.worker.jobs.waiting(4) == [many[0], one, many[1], many[2]]


def test_of_two_users_the_one_served_longest_ago_comes_first(place: Place) -> None:
    for user in ("busy", "quiet"):
        place.worker.run(place.job(user), seconds=60, halt=place.halt)
    quiet, busy = place.job("quiet"), place.job("busy")

    assert place.worker.jobs.waiting(4) == [busy, quiet]


def test_jobs_without_users_come_oldest_first(
    place: Place, new_database: Callable[..., str]
) -> None:
    url = new_database(MINIMAL)
    variables = place.worker.settings.model_copy(
        update={"DATABASE_URL": type(place.worker.settings.DATABASE_URL)(url)}  # type: ignore[misc,call-arg]
    )
    with Api(url, MINIMAL) as api:
        ids = [api.add_job(api.add_list([("Hello.", "Bonjour.")])) for _ in range(3)]

    assert Worker(variables).jobs.waiting(4) == ids


def test_fifty_jobs_of_one_user_are_not_all_spoken_before_the_one_of_another(place: Place) -> None:
    for _ in range(50):
        place.job("busy", cards=1)
    one = place.job("quiet", cards=1)

    thread = place.run()
    *_, last = follow(place.api, one)
    place.halt.set()
    thread.join(PATIENCE_S)

    assert last.status == "completed"
    assert place.served.index(one) <= 1


def test_a_user_who_comes_while_another_s_job_is_spoken_has_the_next_turn(place: Place) -> None:
    place.speech.set_latency(0.2)
    long = place.job("busy", cards=40)

    thread = place.run()
    for progress in follow(place.api, long):
        if progress.done >= 2:
            break
    one = place.job("quiet", cards=1)
    *_, last = follow(place.api, one)
    rest = place.api.job(long)
    place.halt.set()
    thread.join(PATIENCE_S)

    assert last.status == "completed"
    assert rest["completedAt"] is None
    first = place.reports[0]
    assert isinstance(first, Report)
    assert isinstance(first.outcome, HandedBack)
    assert first.outcome.stop.code == "turn_over"
    assert place.served[:2] == [long, one]


def test_one_s_own_jobs_end_nobody_s_turn(place: Place) -> None:
    place.speech.set_latency(0.1)
    first = place.job("busy", cards=10)
    place.job("busy")

    report = place.worker.run(first, seconds=60, halt=place.halt)

    assert not isinstance(report.outcome, HandedBack)


def test_a_job_of_which_nothing_is_left_is_completed_whoever_waits(place: Place) -> None:
    place.speech.set_latency(0.5)
    first = place.api.add_job(place.api.add_list([("The only card.", "")]), userId="busy")
    place.job("quiet", cards=1)

    report = place.worker.run(first, seconds=60, halt=place.halt)

    assert report.outcome == Completed()
    assert place.api.job(first)["status"] == "completed"


def test_a_user_served_a_moment_ago_has_the_next_turn_where_another_has_had_more(
    place: Place,
) -> None:
    place.speech.set_latency(0.2)
    place.worker.run(place.job("quiet", cards=1), seconds=60, halt=place.halt)
    long = place.job("busy", cards=40)

    thread = place.run()
    for progress in follow(place.api, long):
        if progress.done > 4:
            break
    one = place.job("quiet", cards=1)
    asked = len(place.speech.requests)
    *_, last = follow(place.api, one)
    place.halt.set()
    thread.join(PATIENCE_S)

    assert last.status == "completed"
    meanwhile = [seen.input or "" for seen in place.speech.requests[asked:]]
    first = next(n for n, text in enumerate(meanwhile) if "quiet" in text)
    # The two that are under way, those of the time until the next look, and their next.
    assert first <= 3 * IN_FLIGHT


def test_a_user_served_as_much_a_moment_ago_ends_nobody_s_turn(place: Place) -> None:
    place.speech.set_latency(0.1)
    done, again = place.job("quiet"), place.job("quiet", cards=1)
    place.worker.run(done, seconds=60, halt=place.halt)
    first = place.job("busy")

    report = place.worker.run(first, seconds=60, halt=place.halt)

    assert not isinstance(report.outcome, HandedBack)
    assert place.worker.jobs.waiting(1) == [again]


def test_for_one_who_waits_one_run_gives_way_and_not_all(place: Place) -> None:
    busy = [place.worker.jobs.claim(place.job("busy"), lease_s=60) for _ in range(3)]
    place.job("quiet")

    give_way = [place.worker.jobs.others_wait(job, 10) for job in busy if job is not None]

    assert sorted(give_way) == [False, False, True]
