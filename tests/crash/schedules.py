"""Random lives: workers that die or stand still, messages twice and astray, all by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from memolist_tts.core.errors import (
    NetworkFault,
    OutOfMoney,
    ProviderBusy,
    Throttled,
    UtteranceRefused,
)
from tests.crash.parts import silent
from tests.crash.simulation import Fate, Process
from tests.crash.world import FOREIGN_URL, FRENCH, LONG, Ground, World

LATEST_S = 300.0
"""When the API and the operator do their last, and the last thing goes wrong."""


class Schedule:
    """What happens to one world, drawn from `seed`: `play` gives the same each time."""

    def __init__(self, place: Ground, seed: int) -> None:
        place.renew()
        self.chance = random.Random(seed)
        chance = self.chance
        self.world = World(
            place,
            choose=chance.choice,
            seed=seed,
            MAX_IN_FLIGHT=str(chance.choice([1, 2, 3])),
            POLL_INTERVAL_MS="15000",
        )
        self.world.abandons_calls = True
        self.world.new_process = self._process
        self.world.lambda_s = chance.choice([6.4, 15.0, 60.0])
        self.death = chance.choice([0.0, 0.01, 0.04])
        self.freeze = chance.choice([0.0, 0.0, 0.01])
        self.trouble = chance.choice([0.0, 0.0, 0.02, 0.1])
        self.provider_trouble = chance.choice([0.0, 0.1, 0.3])
        self.has_long = self.world.lambda_s > 10 and chance.random() < 0.5
        """Whether a text may be read in parts: a run must have time for all of them."""
        self.world.simulation.fates = self._fate
        self.world.provider.answer = self._answer
        self.world.provider.latency_s = lambda _text: chance.choice([0.05, 0.3, 1.5, 8.0])

    def play(self) -> list[str]:
        """To rest; everything that is wrong then."""
        world, chance = self.world, self.chance
        lists = [world.add_list(self._phrases()) for _ in range(chance.randint(1, 2))]
        world.to_come = 1
        door = chance.choice(["lambda", "lambda", "poll", "both"])
        world.has_queue = door != "poll"
        for _ in range(chance.randint(1, 3)):
            self._order(chance.choice(lists))
        services: list[Callable[[], None]] = [self._people]
        if door != "poll":
            services.append(world.aws)
        if door != "lambda":
            services.append(world.pollers_at_work(chance.randint(1, 3)))
        world.run(*services)
        return world.problems()

    def _process(self, name: str) -> Process:
        chance = self.chance
        return Process(name, skew=chance.uniform(-3600, 3600), drift=chance.uniform(-0.01, 0.01))

    def _is_early(self) -> bool:
        return self.world.simulation.now < LATEST_S

    def _fate(self, _number: int, name: str) -> Fate | None:
        chance = self.chance
        if not self._is_early():
            return None
        if chance.random() < self.death:
            return chance.choice([Fate.DIE_BEFORE, Fate.DIE_AFTER])
        if chance.random() < self.freeze:
            return Fate.FREEZE
        if name != "speak" and chance.random() < self.trouble:
            return chance.choice([Fate.FAIL_BEFORE, Fate.FAIL_AFTER, Fate.UNHEARD])
        return None

    def _answer(self, text: str) -> Exception | bytes | None:
        chance = self.chance
        if not self._is_early() or chance.random() >= self.provider_trouble:
            return None
        provider = self.world.provider
        # A part in which nothing is said would cost the others of its text anew.
        is_whole = len(provider.wholes.get(text, [text])) == 1
        silence = silent(text, provider.languages.get(text, "en"))
        bad = silence if is_whole else ProviderBusy("502")
        return chance.choice(
            [
                Throttled("slow down"),
                Throttled("slow down", retry_after_s=chance.choice([2.0, 90.0])),
                ProviderBusy("503"),
                NetworkFault("not reached", maybe_billed=False),
                bad,
                bad,
                OutOfMoney("no credit") if chance.random() < 0.2 else ProviderBusy("500"),
                UtteranceRefused("no") if chance.random() < 0.2 else None,
            ]
        )

    def _phrases(self) -> list[tuple[str, str]]:
        words = self.chance.sample(list(FRENCH), self.chance.randint(1, 3))
        phrases = [(word, self.chance.choice([FRENCH[word], "..."])) for word in words]
        if self.has_long and self.chance.random() < 0.5:
            phrases[0] = (LONG, phrases[0][1])
        return phrases

    def _order(self, list_id: str) -> str:
        columns = {"userId": self.chance.choice(["user-1", "user-2"])}
        if self.chance.random() < 0.15:
            columns["options"] = json.dumps({"force": True})
        return self.world.add_job(list_id, is_sent=self.chance.random() < 0.8, **columns)

    def _people(self) -> None:
        """What the API, an operator and the queue itself do besides."""
        world, chance = self.world, self.chance
        acts: Sequence[Callable[[], Any]] = [
            self._edit, self._cancel, self._reopen, self._resend, self._another, self._foreign,
            self._resume,
        ]  # fmt: skip
        for _ in range(chance.randint(0, 6)):
            world.simulation.wait(chance.choice([0.1, 0.5, 2.0, 60.0]))
            chance.choice(acts)()
        # What was cancelled is wanted after all: so that every card has its audio or its error.
        world.simulation.wait(max(0.0, LATEST_S - world.simulation.now))
        self._resume()
        for job_id in world.lists:
            if world.status(job_id) in ("cancelled", "failed"):
                self._reopen(job_id)
        world.to_come = 0

    def _any_job(self) -> str:
        return str(self.chance.choice(list(self.world.lists)))

    def _edit(self) -> None:
        cards = self.world.api.rows('SELECT id FROM "Card" ORDER BY "listId", position')
        word = self.chance.choice(list(FRENCH))
        self.world.edit(self.chance.choice(cards)["id"], word)

    def _cancel(self) -> None:
        status = self.chance.choice(["cancelled", "failed"])
        self.world.api.rows(
            f"""UPDATE "TtsJob" SET status = '{status}'
                WHERE id = :id AND status::text IN ('pending', 'processing')""",
            id=self._any_job(),
        )

    def _reopen(self, job_id: str | None = None) -> None:
        job_id = job_id or self._any_job()
        self.world.api.rows(
            """UPDATE "TtsJob" SET status = 'pending', "completedAt" = NULL
               WHERE id = :id AND status::text IN ('cancelled', 'failed')""",
            id=job_id,
        )
        if self.chance.random() < 0.8:
            self.world.send(job_id)

    def _resend(self) -> None:
        self.world.send(self._any_job())

    def _another(self) -> None:
        self._order(self.chance.choice(list(self.world.lists.values())))

    def _foreign(self) -> None:
        """Somebody records a card himself."""
        world = self.world
        cards = world.api.rows(
            'SELECT id FROM "Card" WHERE "audioEnUrl" IS NULL ORDER BY "listId", position'
        )
        if cards:
            card_id = str(self.chance.choice(cards)["id"])
            world.api.rows('UPDATE "Card" SET "audioEnUrl" = :url WHERE id = :id',
                           url=FOREIGN_URL, id=card_id)  # fmt: skip
            world.foreign.add((card_id, "en"))

    def _resume(self) -> None:
        """An operator tops the credit up."""
        self.world.api.rows("DELETE FROM tts.pause")
        self.world.api.rows("UPDATE tts.job SET not_before = NULL WHERE finished_at IS NULL")
