"""A deployment on real servers whose links can be troubled, and what must hold of it at rest."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

from local.api import Api, audio_urls
from local.speech import SpeechServer
from local.speech.catalogue import MODELS, PITCHES, REALTIME
from local.speech.clips import spoilt_mp3, spoilt_pcm
from local.speech.faults import Fault
from local.speech.ledger import Charge
from local.speech.sound import mp3, spoken, stamped
from memolist_tts.assemble import Worker
from memolist_tts.core.speaking import TRIES
from memolist_tts.core.verdict import judge, publishable
from memolist_tts.poll import poll
from memolist_tts.settings import Needs, Settings
from memolist_tts.speech import encoder
from tests.conftest import Bucket
from tests.crash.network import Network

PATIENCE_S = 120.0
UNFRAMED = "cut_unframed"
CDN = "https://cdn.example.com/audio"
NOUNS = (("house", "maison"), ("table", "table"), ("window", "fenêtre"), ("door", "porte"))
COLOURS = (("red", "rouge"), ("green", "verte"), ("white", "blanche"), ("black", "noire"))
CARDS = [
    (f"The {noun} is {colour}.", f"La {nom} est {couleur}.")
    for noun, nom in NOUNS
    for colour, couleur in COLOURS
]
LEFT_LEASES = """
SELECT t.job_id FROM tts.job t JOIN "TtsJob" j ON j.id = t.job_id
WHERE j.status::text IN ('completed', 'failed')
  AND (t.lease_token IS NOT NULL OR t.lease_until IS NOT NULL)
"""


@dataclass
class Field:
    """A deployment whose links to its servers can be troubled."""

    api: Api
    url: str
    speech: SpeechServer
    s3: Bucket
    links: dict[str, Network]
    environ: dict[str, str] = field(default_factory=dict)
    """Of its workers, besides what all have."""
    lists: dict[str, str] = field(default_factory=dict)
    """By job."""
    numbers: Iterator[int] = field(default_factory=count)

    def worker(self, **environ: str) -> Worker:
        database = urlsplit(self.url)
        netloc = f"postgres@127.0.0.1:{self.links['postgres'].port}"
        plain = {
            "DATABASE_URL": database._replace(netloc=netloc).geturl(),
            "OPENAI_BASE_URL": f"http://127.0.0.1:{self.links['provider'].port}/v1",
            "OPENAI_API_KEY": "sk-test",
            "STORAGE_TYPE": "s3",
            "AWS_S3_BUCKET": self.s3.name,
            "PUBLIC_BASE_URL": CDN,
            "FLUSH_SECONDS": "0.1",
            "LEASE_SECONDS": "3",
            "POLL_INTERVAL_MS": "100",
            "MAX_IN_FLIGHT": "4",
            "MAX_ATTEMPTS": "1000",
        }
        return Worker(Settings.load(Needs.WORKER, environ=plain | self.environ | environ))

    @contextmanager
    def polled(self, count: int = 1) -> Iterator[None]:
        """Pollers at work, in threads."""
        halt = threading.Event()
        workers = [self.worker() for _ in range(count)]
        with ThreadPoolExecutor(count) as pool:
            ends = [pool.submit(poll, worker, halt, lambda _: None) for worker in workers]
            try:
                yield
            finally:
                halt.set()
                for end in ends:
                    end.result(PATIENCE_S)
                for worker in workers:
                    worker.database.close()

    def add_job(self, cards: list[tuple[str, str]]) -> str:
        list_id = self.api.add_list(cards)
        job_id = self.api.add_job(list_id)
        self.lists[job_id] = list_id
        return job_id

    def add_work(self) -> str:
        """A job over texts that nobody has spoken."""
        number = next(self.numbers)
        return self.add_job([(f"{number}: {en}", f"{number}: {fr}") for en, fr in CARDS[:6]])

    def wait_until(self, happens: Callable[[], bool]) -> None:
        """There is work until it does."""
        give_up = time.monotonic() + PATIENCE_S
        while not happens():
            assert time.monotonic() < give_up
            if not self.open_jobs():
                self.add_work()
            time.sleep(0.005)

    def open_jobs(self) -> list[str]:
        return [job_id for job_id in self.lists if self.status(job_id) in ("pending", "processing")]

    def status(self, job_id: str) -> str:
        return str(self.api.job(job_id)["status"])

    def wait_for_end(self) -> set[str]:
        """The states in which the jobs end; rests and pauses are cut short."""
        give_up = time.monotonic() + PATIENCE_S
        while self.open_jobs():
            assert time.monotonic() < give_up, self.api.rows("SELECT * FROM tts.job")
            self.api.rows("DELETE FROM tts.pause")
            self.api.rows("UPDATE tts.job SET not_before = NULL WHERE lease_token IS NULL")
            self.api.rows("UPDATE tts.pace SET blocked_until = NULL")
            time.sleep(0.05)
        return {self.status(job_id) for job_id in self.lists}

    def wait_until_charged(self, count: int) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while len(self.speech.charges) < count:
            assert time.monotonic() < give_up
            time.sleep(0.005)

    def failures(self) -> dict[tuple[str, str], str]:
        """The codes of the utterances that failed, by card and language."""
        rows = self.api.rows(
            "SELECT card_id, language, code FROM tts.utterance WHERE state = 'failed'"
        )
        return {(row["card_id"], row["language"]): row["code"] for row in rows}

    def own_faults(self) -> set[str]:
        """The codes of those that failed, but for who was given up after failed calls."""
        rows = self.api.rows(
            """SELECT DISTINCT code FROM tts.utterance WHERE state = 'failed'
               AND message NOT LIKE :given_up""",
            given_up=f"Failed {TRIES} times%",
        )
        return {row["code"] for row in rows}

    def problems(self) -> list[str]:
        """Cards without their audio or their error, other texts' audio, what is left over."""
        objects, found, failures = self.s3.objects(), [], self.failures()
        charges = self._charges()
        for list_id in self.lists.values():
            for card in self.api.cards(list_id):
                texts = zip(("en", "fr"), (card["textEn"], card["textFr"]), strict=True)
                for (language, text), url in zip(texts, audio_urls(card), strict=True):
                    if (card["id"], language) in failures:
                        found += [f"{text}: failed, with {url}"] * (url is not None)
                        continue
                    audio = objects.get((url or "").removeprefix(f"{CDN}/"))
                    if audio is None:
                        found.append(f"{text}: nothing at {url}")
                    elif audio not in _given(charges.get(text, ())):
                        found.append(f"{text}: the provider never gave what is at {url}")
        return found + [f"a lease is left: {row}" for row in self.api.rows(LEFT_LEASES)]

    def _charges(self) -> dict[str, list[Charge]]:
        by_text: dict[str, list[Charge]] = {}
        for charge in self.speech.charges:
            by_text.setdefault(charge.input, []).append(charge)
        return by_text

    def repeated(self) -> dict[str, int]:
        said = Counter(charge.input for charge in self.speech.charges)
        return {text: times for text, times in said.items() if times > 1}


def _given(charges: Sequence[Charge]) -> set[bytes | None]:
    """What may be stored of a text: a cut clip only where no take of it was better."""
    given = {published(charge) for charge in charges}
    if all(charge.fault for charge in charges):
        given |= {published(each, is_cut=True) for each in charges if each.fault == UNFRAMED}
    return given


def published(charge: Charge, *, is_cut: bool = False) -> bytes | None:
    """What is stored of the sound that was charged; None where it isn't to be."""
    fault = Fault(fault=charge.fault) if charge.fault else None
    pitch = PITCHES[charge.voice]
    pcm = spoken(charge.input, charge.language, pitch, charge.speed)
    assert pcm is not None
    spoilt = spoilt_pcm(pcm, fault, charge.language)
    if charge.route == REALTIME:
        sent = encoder.mp3(spoilt)
    else:
        kbps = MODELS[charge.model].bit_rate_kbps
        sent = spoilt_mp3(stamped(mp3(spoilt, kbps), kbps, charge.take), spoilt, kbps, fault)
    if is_cut and fault:
        sent = sent[: int(len(sent) * fault.at)]
    verdict = judge(sent, charge.input, language=charge.language)
    return publishable(sent, verdict) if verdict.is_sound else None
