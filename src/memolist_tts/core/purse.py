"""What a run spends: set aside before each call, written down after it, never beyond a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from memolist_tts.core.model import ClipId, Job, Stop
from memolist_tts.core.orders import line_usd
from memolist_tts.core.ports import Granted, Ledger, Spent
from memolist_tts.core.takes import Work

AHEAD = 32
"""Calls for which money is set aside at a time."""
A_DAY_S = 86_400.0


@dataclass(slots=True)
class _Sum:
    calls: int = 0
    characters: int = 0
    cost_usd: float = 0.0


@dataclass(slots=True)
class Purse:
    """The money of one run. One thread uses it.

    The ledger holds the run's own sums, so that writing them again changes
    nothing; what is set aside stays there when a run dies, and counts as spent.
    """

    job: Job
    ledger: Ledger
    _hand: float = 0.0
    """Set aside, and for no call yet."""
    _flying: dict[ClipId, float] = field(default_factory=dict)
    """Set aside for calls under way, and for takes of which a part is still to come."""
    _adrift: set[ClipId] = field(default_factory=set)
    """Clips of which a call was abandoned."""
    _abandoned: float = 0.0
    """Set aside for calls that nobody waits for any more: they may be billed."""
    _sums: dict[tuple[str, str, str, bool], _Sum] = field(default_factory=dict)
    _is_written: bool = True
    _is_refused: bool = False
    """The budget had nothing more to give; asked again once a call has ended."""

    def covers(self, ready: Sequence[Work]) -> bool | Stop:
        """Whether the next call may be made: not now, or a `Stop` where never."""
        if not self.ledger.is_limited:
            return True
        need = self._need(ready[0])
        if need is None:
            return _no_price(ready[0].line.voice.model)
        if self._hand < need and not self._is_refused:
            wanted = sum(self._need(work) or 0.0 for work in islice(ready, AHEAD))
            granted = self._exchange(max(need, wanted) - self._hand)
            self._hand += granted.usd
            self._is_refused = self._hand < need
            if self._is_refused and not self._flying:
                return _reached(granted)
        return self._hand >= need

    @property
    def is_waiting(self) -> bool:
        """Whether nothing may start before a call has ended."""
        return self._is_refused

    def _need(self, work: Work) -> float | None:
        """What the next call takes; the later parts of a text are covered with its first."""
        return 0.0 if work.parts and work.clip in self._flying else line_usd(work.line)

    def start(self, work: Work) -> None:
        """A call begins: what covers it is set aside for it."""
        if not self.ledger.is_limited or (work.parts and work.clip in self._flying):
            return
        need = line_usd(work.line) or 0.0
        self._hand -= need
        self._abandoned += self._flying.pop(work.clip, 0.0)
        self._flying[work.clip] = need

    def end(self, work: Work) -> None:
        """A call has ended, well or not: what it cost is known, or as known as it gets."""
        if not work.parts:
            self._flying.pop(work.clip, None)
        self._is_refused = self._is_written = False
        total = self._sum(work, is_reported=work.is_reported)
        total.calls += 1
        cost_usd = work.cost_usd or 0.0
        total.characters += work.characters - work.booked_characters
        total.cost_usd += cost_usd - work.booked_usd
        work.booked_characters, work.booked_usd = work.characters, cost_usd

    def abandon(self, work: Work) -> None:
        """Nobody waits for the line's call any more: it may be billed."""
        self._adrift.add(work.clip)

    def let_go(self, work: Work) -> None:
        """A line goes no further: what was set aside for its later parts is free again."""
        self._book_lost(work)
        usd = self._flying.pop(work.clip, None)
        if usd is None:
            return
        if work.clip in self._adrift:
            self._abandoned += usd
        self._is_refused = self._is_written = False

    def _book_lost(self, work: Work) -> None:
        """Parts of a take that won't be whole were paid for, too."""
        whole_usd = line_usd(work.line)
        if not work.parts or whole_usd is None:
            return
        self._sum(work, is_reported=False).cost_usd += (
            whole_usd * len(work.parts) / len(work.line.pieces)
        )
        self._is_written = False

    def _sum(self, work: Work, *, is_reported: bool) -> _Sum:
        voice = work.line.voice
        return self._sums.setdefault((voice.model, voice.name, voice.language, is_reported), _Sum())

    def write(self) -> None:
        """Bring the ledger up to date, if there is anything new."""
        if not self._is_written:
            self._exchange(0.0)

    def close(self) -> None:
        """Give back what is left; calls that were abandoned may still be billed.

        Safe to repeat: where it failed, it's done then.
        """
        self._is_written = self._is_written and self._hand <= 0
        self._hand = 0.0
        self.write()

    def _exchange(self, want_usd: float) -> Granted:
        held = self._hand + self._abandoned + sum(self._flying.values())
        spent = [
            Spent(
                model=model,
                voice=voice,
                language=language,
                is_reported=is_reported,
                calls=total.calls,
                characters=total.characters,
                cost_usd=total.cost_usd,
            )
            for (model, voice, language, is_reported), total in self._sums.items()
        ]
        granted = self.ledger.exchange(self.job, spent, held_usd=held, want_usd=want_usd)
        # What is granted now is held besides: closing gives it back.
        self._is_written = want_usd <= 0
        return granted


def _no_price(model: str) -> Stop:
    message = (
        f"A budget is set, and what {model} costs isn't known: choose a model of "
        "speech/models.toml, or unset JOB_BUDGET_USD and DAILY_BUDGET_USD."
    )
    return Stop(code="misconfigured", message=message, delay_s=A_DAY_S, rings=True)


def _reached(granted: Granted) -> Stop:
    """The job waits for a person; the day's budget is another one tomorrow."""
    if granted.job_left_usd is not None and (
        granted.day_left_usd is None or granted.job_left_usd <= granted.day_left_usd
    ):
        message = (
            f"The job has used up JOB_BUDGET_USD, {granted.job_budget_usd:g}. Raise it, then "
            "`memolist-tts retry` the job."
        )
        return Stop(code="job_budget_reached", message=message, delay_s=A_DAY_S, rings=True)
    message = (
        f"DAILY_BUDGET_USD, {granted.day_budget_usd:g}, is used up. All jobs wait for the next day "
        "(UTC), or raise it and `memolist-tts resume`."
    )
    return Stop(
        code="daily_budget_reached",
        message=message,
        delay_s=granted.day_ends_s,
        rings=True,
        pauses=True,
    )
