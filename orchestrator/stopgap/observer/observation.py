"""One observer at work: requests come in, are asked, judged and written down, until it is told to end.

One thread judges and writes, so that nothing it has needs a lock; others ask, which is waiting mostly.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping

from stopgap import shadows
from stopgap.comparison.judge import Judge
from stopgap.comparison.pairs import Pair
from stopgap.comparison.plan import Plan
from stopgap.errors import FrontError, ShadowError, StopgapError
from stopgap.front.admin import Admin
from stopgap.front.mirrored import Mirrored, mirrored
from stopgap.observer.counting import BEGUN, DROPPED, JOINED, LOST, MISSING, SEEN, UNDELIVERED, advanced, totals_in
from stopgap.observer.judging import nameless, restored, row_of, written
from stopgap.observer.models import Models
from stopgap.observer.questions import Dropped, pair_of
from stopgap.observer.receiver import receiving
from stopgap.observer.results import MIB, Batch, Bounds, Experiment, Results, Row
from stopgap.observer.tap import Tap
from stopgap.shadows import RESULTS, Shadow
from stopgap.store import Store

__all__ = ["observe"]

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 1.0
LOOK_EVERY_S = 5.0
RESULT_EVERY_S = 2.0
CHECKPOINT_EVERY_S = 30.0
MOST_ANSWERED = 1000
CHECKPOINTED = "judged at the checkpoint"


def observe(name: str, store: Store, listens: Callable[[], None], ends: threading.Event) -> None:
    """Returns when it is told to end, with all written down.

    Args:
        listens: Called once requests are taken.
        ends: When to end.

    Raises:
        StopgapError: Of the kind of what is wrong.
    """
    shadow = shadows.find(name, store)
    if shadow is None:
        raise ShadowError(f"There is no shadow of {name}.")
    plan = Plan.of(**shadow.plan)
    bounds = Bounds(shadow.rows, shadow.rows_mib * MIB)
    models = Models(shadow, plan, store)
    with contextlib.closing(models), Results(shadows.folder_of(name, store) / RESULTS, bounds) as results:
        observation = Observation(shadow, plan, store, models, results)
        observation.take_up()
        tap = observation.new_tap()
        askers = [
            threading.Thread(target=asking, args=(observation, tap, ends), name=f"asker-{number}", daemon=True)
            for number in range(shadow.in_flight)
        ]
        for asker in askers:
            asker.start()
        port = store.deployment(name).front.grpc_port
        store.make_front_folder(port)
        with receiving(store.observer_socket(port, name), tap.offer):
            listens()
            while not ends.is_set():
                observation.go_on(tap)
        tap.close()
        models.close()
        for asker in askers:
            asker.join(timeout=1)
        observation.finish(tap)


def asking(observation: Observation, tap: Tap, ends: threading.Event) -> None:
    """Who asks must not end alone: all that came would be dropped while the observer seemed to live."""
    try:
        observation.ask(tap)
    finally:
        ends.set()


class Observation:
    """What it knows; all but `ask` by one thread alone."""

    def __init__(self, shadow: Shadow, plan: Plan, store: Store, models: Models, results: Results) -> None:
        self._shadow, self._plan, self._store, self._models, self._results = shadow, plan, store, models, results
        self._port = store.deployment(shadow.name).front.grpc_port
        self._answered: queue.Queue[Pair] = queue.Queue(MOST_ANSWERED)
        self._experiment: Experiment
        self._judge: Judge
        self._counts: dict[str, int] = {}
        # What the tap has counted since it was made, as far as it is in the counts.
        self._tap_seen, self._tap_dropped = 0, dict[str, int]()
        self._rows: list[Row] = []
        self._next = dict.fromkeys(("look", "result", "checkpoint"), 0.0)
        self._changed = True
        self._per_million = shadow.per_million
        self._unsure, self._unsure_looks = 0, 0

    def take_up(self) -> None:
        """The experiment of these models and this plan that was begun before, or a new one."""
        belonging = self._models.belonging()
        last = self._results.newest()
        if last is None or last.bound != belonging.bound or last.ended_s is not None:
            self._begin()
            return
        self._experiment, self._counts = last, dict(last.counts)
        self._look(only_read=self._counts.get(BEGUN) != self._shadow.begun_s)
        self._count_lost()
        try:
            self._judge = restored(self._results, last, self._plan, totals_in(self._counts).dropped)
        except ShadowError as error:
            log.warning("%s A new experiment is begun.", error.problem)
            self._begin()

    def new_tap(self) -> Tap:
        shadow = self._shadow
        largest = min(shadow.largest_mib, shadow.queue_mib) * MIB
        return Tap(shadow.queue, shadow.queue_mib * MIB, largest, shadow.deadline_s, self._counts.get(SEEN, 0))

    def ask(self, tap: Tap) -> None:
        """One thread's work: what is shown becomes a pair, or is dropped."""
        while (shown := tap.take()) is not None:
            try:
                pair = nameless(pair_of(shown, self._models, self._shadow.deadline_s), self._plan)
            except Dropped as reason:
                tap.drop(str(reason))
                continue
            except StopgapError as error:
                tap.drop("could not be asked")
                log.warning("a request could not be asked: %s", error.problem)
                continue
            if tap.closed:  # then it may be our own end that kept a model from answering
                return
            self._answered.put(pair)

    def go_on(self, tap: Tap) -> None:
        """A second of it: judges what comes, then writes."""
        until = time.monotonic() + COMMIT_EVERY_S
        while (left_s := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                self._take(self._answered.get(timeout=left_s))
        self._write(tap)

    def finish(self, tap: Tap) -> None:
        """What was answered meanwhile counts; what was only asked does not, and is told as lost next time."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._take(self._answered.get_nowait())
        self._next = dict.fromkeys(self._next, 0.0)
        self._write(tap)

    def _take(self, pair: Pair) -> None:
        self._judge.add(pair)
        self._rows.append(row_of(pair, time.time()))
        self._counts[JOINED] = self._counts.get(JOINED, 0) + 1
        self._changed = True

    def _write(self, tap: Tap) -> None:
        self._count(tap)
        if self._is_due("look", LOOK_EVERY_S):
            self._follow()
            self._look()
        self._judge_drops()
        result = self._judge.result().as_json() if self._changed and self._is_due("result", RESULT_EVERY_S) else None
        checkpoint = None
        if self._is_due("checkpoint", CHECKPOINT_EVERY_S) or self._much_came():
            checkpoint = written(self._judge)
            self._counts[CHECKPOINTED] = self._counts.get(JOINED, 0)
        self._results.write(self._experiment.id, Batch(self._rows, self._counts, result, checkpoint))
        self._rows = []
        self._changed = self._changed and result is None

    def _much_came(self) -> bool:
        """What the judge has no checkpoint of must not push out what is there."""
        return len(self._rows) > self._shadow.rows // 4 or (
            sum(len(row.answers) for row in self._rows) > self._shadow.rows_mib * MIB // 4
        )

    def _is_due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._next[what]:
            return False
        self._next[what] = now + every_s
        return True

    def _count(self, tap: Tap) -> None:
        seen, dropped = tap.counts()
        self._add({SEEN: seen - self._tap_seen})
        self._add({DROPPED + reason: count - self._tap_dropped.get(reason, 0) for reason, count in dropped.items()})
        self._tap_seen, self._tap_dropped = seen, dropped

    def _add(self, counts: Mapping[str, int]) -> None:
        for name, number in counts.items():
            if number:
                self._counts[name] = self._counts.get(name, 0) + number
                self._changed = True

    def _look(self, *, only_read: bool = False) -> None:
        """At the front's counters; an Envoy that does not answer is looked at next time, and counted from then on."""
        only_read = only_read or self._counts.get(BEGUN) != self._shadow.begun_s
        with contextlib.suppress(FrontError):
            read = self._read()
            before = totals_in(self._counts).undelivered
            self._counts.update(
                advanced(self._counts, read, self._per_million, unsure=self._unsure, only_read=only_read)
            )
            self._counts[BEGUN] = self._shadow.begun_s
            self._add({DROPPED + UNDELIVERED: totals_in(self._counts).undelivered - before})
            self._counts[MISSING] = totals_in(self._counts).unaccounted
            self._unsure_looks -= 1
            if self._unsure_looks <= 0:
                self._unsure = 0

    def _read(self) -> Mirrored:
        return mirrored(Admin(self._store.front_folder(self._port) / "admin"), self._shadow.name)

    def _follow(self) -> None:
        """Another sample from now on; another model than the one that this is about."""
        with contextlib.suppress(StopgapError):
            wanted = shadows.find(self._shadow.name, self._store)
            if wanted is not None and wanted.per_million != self._per_million:
                # Nobody knows when, between the last look and the next, the front took that up.
                self._unsure, self._unsure_looks = abs(wanted.per_million - self._per_million), 2
                self._per_million = wanted.per_million
            if self._models.belonging().bound != self._experiment.bound:
                log.warning("a model was replaced: a new experiment is begun")
                self._begin()

    def _begin(self) -> None:
        belonging = self._models.belonging()
        self._experiment = self._results.begin(belonging.bound, belonging.told)
        self._counts, self._rows = {}, []
        self._judge = Judge(self._plan)
        self._look(only_read=True)

    def _count_lost(self) -> None:
        """What the front has delivered to the observer before this one, and that one has not settled."""
        totals = totals_in(self._counts)
        delivered = max(totals.sent - totals.undelivered, totals.seen)
        own = sum(totals.dropped.values()) - totals.dropped.get(UNDELIVERED, 0)
        self._counts[SEEN] = delivered
        self._add({DROPPED + LOST: max(0, delivered - totals.joined - own)})

    def _judge_drops(self) -> None:
        known = self._judge.drops
        for reason, number in totals_in(self._counts).dropped.items():
            if number > known.get(reason, 0):
                self._judge.dropped(number - known.get(reason, 0), reason)
