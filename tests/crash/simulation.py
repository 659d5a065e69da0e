"""Threads of several processes, one at a time, in an order that is chosen: and their deaths.

Time is virtual. A thread gives way at every call to a port (`call`) and wherever it waits;
the next one is picked by `choose`, so that the same choices give the same run. Each call has
a number and a fate.
"""

from __future__ import annotations

import math
import queue
import random
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")
LONGEST_FREEZE_S = 3600.0
PATIENCE_S = 60.0
"""Of real time, for a thread that never gives way."""


class Killed(BaseException):
    """The process of this thread is dead: nothing that it does has an effect."""


class Fate(Enum):
    """What becomes of one call to a port."""

    DIE_BEFORE = "the process dies before the effect"
    DIE_AFTER = "the process dies after the effect"
    FAIL_BEFORE = "refused, without effect"
    FAIL_AFTER = "told as failed, with effect"
    UNHEARD = "committed, the answer lost, and repeated by the adapter"
    FREEZE = "the process stands still before the effect, until others have gone on in its place"

    @property
    def kills(self) -> bool:
        return self in (Fate.DIE_BEFORE, Fate.DIE_AFTER)


Fates = Callable[[int, str], Fate | None]
"""The fate of the call of that number and name; None lets it be."""


@dataclass(eq=False)
class Process:
    """Threads that die together."""

    name: str
    skew: float = 0.0
    """Its clock against the world's, in seconds."""
    drift: float = 0.0
    is_dead: bool = False
    threads: int = 0
    thaws: Callable[[], bool] | None = None
    """While it stands still: whether it goes on."""

    @property
    def is_frozen(self) -> bool:
        if self.thaws is not None and self.thaws():
            self.thaws = None
        return self.thaws is not None


@dataclass(eq=False)
class _Thread:
    process: Process
    name: str
    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    until: float = 0.0
    ready: Callable[[], bool] | None = None

    def may_go(self, now: float) -> bool:
        if self.process.is_dead:
            return True
        is_due = now >= self.until or (self.ready is not None and self.ready())
        return is_due and not self.process.is_frozen


class Simulation:
    """Runs what is spawned until all of it has ended."""

    def __init__(self, choose: Callable[[Sequence[Any]], Any] | None = None, seed: int = 0) -> None:
        self.now = 0.0
        self.dice = random.Random(seed)
        """What the product leaves to chance: ids, and how long it backs off."""
        self.calls: list[str] = []
        """The numbered calls so far, by name."""
        self.trace: list[tuple[float, str, str, Fate | None]] = []
        """When whose call of which name came, and its fate; of all calls that there ever were."""
        self.freezes = 0
        self.speakers: list[Process] = []
        """Whose call to the provider each was."""
        self.fates: Fates = lambda _number, _name: None
        self.troubles = 0
        """Calls that went wrong."""
        self.wrongs: list[str] = []
        """What a call did and must not do."""
        self.broken: list[BaseException] = []
        self._choose = choose
        self._threads: list[_Thread] = []
        self._current: _Thread | None = None
        self._over = threading.Semaphore(0)

    # For whoever runs it

    def run(self) -> None:
        """Until every thread has ended. Raises what one of them raised."""
        self._hand_over()
        if not self._over.acquire(timeout=PATIENCE_S):
            raise AssertionError(f"hangs: {self._current and self._current.name}")
        if self.broken:
            raise self.broken[0]

    # For the threads

    @property
    def process(self) -> Process:
        """Whose thread is running."""
        assert self._current is not None
        return self._current.process

    def spawn(self, process: Process, name: str, work: Callable[[], object]) -> None:
        """A thread of `process`, which runs when its turn comes."""
        thread = _Thread(process, name, until=self.now)
        process.threads += 1
        self._threads.append(thread)
        threading.Thread(target=self._serve, args=(thread, work), daemon=True).start()

    def call(
        self,
        name: str,
        effect: Callable[[], T],
        failure: Callable[[Fate], Exception],
        *,
        takes_s: float = 0.0,
        unheard: Callable[[], None] | None = None,
    ) -> T:
        """A call to a port: `effect` happens at once, the answer comes `takes_s` later.

        `unheard` is told when the effect's answer is to be lost.
        """
        self.check_alive()
        self.calls.append(name)
        fate = self.fates(len(self.calls), name)
        if name == "speak":
            self.speakers.append(self.process)
        self.trace.append((self.now, self.process.name, name, fate))
        self.troubles += fate is not None
        if fate is Fate.FREEZE:
            self._freeze()
        self.give_way()
        if fate is Fate.DIE_BEFORE:
            self.die()
        if fate is Fate.FAIL_BEFORE:
            raise failure(fate)
        if fate is Fate.UNHEARD and unheard is not None:
            unheard()
        result = effect()
        if fate is Fate.DIE_AFTER:
            self.die()
        if takes_s:
            self.wait(takes_s)
        if fate is Fate.FAIL_AFTER:
            raise failure(fate)
        return result

    def _freeze(self) -> None:
        """Until another process has asked the provider for something, or `LONGEST_FREEZE_S`."""
        self.freezes += 1
        mine, since, ends = self.process, len(self.speakers), self.now + LONGEST_FREEZE_S
        mine.thaws = lambda: (
            self.now >= ends or any(each is not mine for each in self.speakers[since:])
        )

    def die(self) -> None:
        """The process of this thread dies here."""
        self.process.is_dead = True
        raise Killed

    def check_alive(self) -> None:
        if self.process.is_dead:
            raise Killed

    def give_way(self) -> None:
        """Let others go first."""
        self._pause(self.now, None)

    def wait(self, seconds: float, ready: Callable[[], bool] | None = None) -> None:
        """Until `seconds` have passed, or something is `ready`."""
        if ready is not None and ready():
            return
        # A little more, as a real clock does: a sum of floats may fall short of its own parts.
        self._pause(self.now + max(0.0, seconds) + 1e-4, ready)

    def _pause(self, until: float, ready: Callable[[], bool] | None) -> None:
        thread = self._current
        assert thread is not None
        thread.until, thread.ready = until, ready
        following = self._next()
        if following is not thread:
            self._current = following
            assert following is not None
            following.gate.release()
            thread.gate.acquire()
        self.check_alive()

    def _next(self) -> _Thread | None:
        while self._threads:
            able = [thread for thread in self._threads if thread.may_go(self.now)]
            if able:
                if self._choose is not None:
                    return self._choose(able)
                return self._current if self._current in able else able[0]
            times = [each.until for each in self._threads if not each.process.is_frozen]
            self.now = min(times, default=self.now + LONGEST_FREEZE_S)
            assert self.now < math.inf, f"all wait: {[t.name for t in self._threads]}"
        return None

    def _hand_over(self) -> None:
        try:
            self._current = self._next()
        except AssertionError as error:
            self.broken.append(error)
            self._current = None
        if self._current is None:
            self._over.release()
        else:
            self._current.gate.release()

    def _serve(self, thread: _Thread, work: Callable[[], object]) -> None:
        thread.gate.acquire()
        try:
            self.check_alive()
            work()
        except Killed:
            pass
        except BaseException as error:
            self.broken.append(error)
        finally:
            thread.process.threads -= 1
            self._threads.remove(thread)
            self._hand_over()


class Threading:
    """Stands for the module `threading` where threads are started and events made."""

    def __init__(self, simulation: Callable[[], Simulation]) -> None:
        self._simulation = simulation

    def Thread(self, *, target: Callable[[], object], name: str, daemon: bool) -> _Starter:  # noqa: ARG002
        return _Starter(self._simulation(), target, name)

    def Event(self) -> Flag:
        return Flag(self._simulation())


@dataclass
class _Starter:
    simulation: Simulation
    target: Callable[[], object]
    name: str

    def start(self) -> None:
        self.simulation.spawn(self.simulation.process, self.name, self.target)


class Queues:
    """Stands for the module `queue` there: waiting in it is virtual."""

    Empty = queue.Empty

    def __init__(self, simulation: Callable[[], Simulation]) -> None:
        self._simulation = simulation

    def SimpleQueue(self) -> _Queue:
        return _Queue(self._simulation())


class _Queue:
    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self, timeout: float = math.inf) -> Any:
        # A report that is there still lets the others go first.
        self._simulation.wait(timeout, lambda: bool(self._items))
        return self.get_nowait()

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


class Ids:
    """Stands for the module `uuid` where ids are made: the seed decides them."""

    def __init__(self, simulation: Callable[[], Simulation]) -> None:
        self._simulation = simulation

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(int=self._simulation().dice.getrandbits(128), version=4)


class Dice:
    """Stands for the module `random` in the product: the seed decides."""

    def __init__(self, simulation: Callable[[], Simulation]) -> None:
        self._simulation = simulation

    def uniform(self, low: float, high: float) -> float:
        return self._simulation().dice.uniform(low, high)


class Flag:
    """Stands for a `threading.Event`: waiting for it is virtual."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def wait(self, timeout: float = math.inf) -> bool:
        self._simulation.wait(timeout, self.is_set)
        return self._is_set
