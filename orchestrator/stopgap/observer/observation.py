"""A shadow's observer at work: what is shown is asked of both models, judged and written down."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable

from stopgap.comparison.judge import Judge
from stopgap.comparison.pairs import Pair
from stopgap.comparison.plan import Plan
from stopgap.errors import ShadowError, StopgapError
from stopgap.observer.accounts import Accounts
from stopgap.observer.counting import JOINED
from stopgap.observer.judging import nameless, restored, row_of, written
from stopgap.observer.models import Models
from stopgap.observer.questions import Dropped, pair_of
from stopgap.observer.results import MIB, Batch, Bounds, Experiment, Results, Row
from stopgap.observer.tap import Tap
from stopgap.observer.work import at_work
from stopgap.shadows import RESULTS, SHADOWS, Shadow
from stopgap.store import Store

__all__ = ["observe"]

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 1.0
RESULT_EVERY_S = 2.0
CHECKPOINT_EVERY_S = 30.0
MOST_ANSWERED = 1000
CHECKPOINTED = "judged at the checkpoint"


def observe(name: str, store: Store, listens: Callable[[], None], ends: threading.Event) -> None:
    """Returns when it is told to end; see `work.at_work`."""
    shadow = SHADOWS.find(name, store)
    if shadow is None:
        raise ShadowError(f"There is no shadow of {name}.")
    plan = Plan.of(**shadow.plan)
    bounds = Bounds(shadow.rows, shadow.rows_mib * MIB)
    models = Models(shadow, plan, store)
    with contextlib.closing(models), Results(SHADOWS.folder_of(name, store) / RESULTS, bounds) as results:
        observation = Observation(shadow, plan, store, models, results)
        observation.take_up()
        at_work(observation, shadow, store, listens, ends)


class Observation:
    """What it knows; all but `ask` by one thread alone."""

    def __init__(self, shadow: Shadow, plan: Plan, store: Store, models: Models, results: Results) -> None:
        self._shadow, self._plan, self._store, self._models, self._results = shadow, plan, store, models, results
        self._accounts = Accounts(SHADOWS, shadow, store)
        # With the number of the experiment in which both were asked.
        self._answered: queue.Queue[tuple[int, Pair]] = queue.Queue(MOST_ANSWERED)
        self._experiment: Experiment
        self._judge: Judge
        self._rows: list[Row] = []
        self._next = dict.fromkeys(("result", "checkpoint"), 0.0)

    def take_up(self) -> None:
        """The experiment of these models and this plan that was begun before, or a new one."""
        belonging = self._models.belonging()
        last = self._results.newest()
        if last is None or last.bound != belonging.bound or last.ended_s is not None:
            self._begin(None)
            return
        self._experiment = last
        self._accounts.take_up(last.counts)
        self._accounts.count_lost()
        try:
            self._judge = restored(self._results, last, self._plan, self._accounts.totals.dropped)
        except ShadowError as error:
            log.warning("%s A new experiment is begun.", error.problem)
            self._begin(None)

    def new_tap(self) -> Tap:
        """As the shadow has it."""
        return self._accounts.new_tap()

    def ask(self, tap: Tap) -> None:
        """One thread's work: what is shown becomes a pair, or is dropped."""
        while (shown := tap.take()) is not None:
            asked_in = self._experiment.id
            try:
                pair = nameless(pair_of(shown, self._models, self._shadow.deadline_s), self._plan)
            except Dropped as reason:
                tap.drop(shown, str(reason))
                continue
            except StopgapError as error:
                tap.drop(shown, "could not be asked")
                log.warning("a request could not be asked: %s", error.problem)
                continue
            if tap.closed:  # then it may be our own end that kept a model from answering
                return
            self._answered.put((asked_in, pair))

    def go_on(self, tap: Tap) -> None:
        """A second of it: judges what comes, then writes."""
        until = time.monotonic() + COMMIT_EVERY_S
        while (left_s := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                self._take(*self._answered.get(timeout=left_s))
        self._write(tap)

    def stop_asking(self) -> None:
        """See `Work`."""
        self._models.close()

    def finish(self, tap: Tap) -> None:
        """What was answered meanwhile counts; what waits or was only asked is lost."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._take(*self._answered.get_nowait())
        self._next = dict.fromkeys(self._next, 0.0)
        self._accounts.settle(tap)
        self._write(tap)

    def _take(self, asked_in: int, pair: Pair) -> None:
        if asked_in != self._experiment.id:  # of a model that has been replaced since, and no part of what is counted
            return
        self._judge.add(pair)
        self._rows.append(row_of(pair, time.time()))
        self._accounts.add({JOINED: 1})

    def _write(self, tap: Tap) -> None:
        accounts = self._accounts
        accounts.count(tap)
        if accounts.is_look_due():
            self._follow(tap)
            accounts.look()
        self._judge_drops()
        result = self._judge.result().as_json() if accounts.changed and self._is_due("result", RESULT_EVERY_S) else None
        checkpoint = None
        if self._is_due("checkpoint", CHECKPOINT_EVERY_S) or self._much_came():
            checkpoint = written(self._judge)
            accounts.counts[CHECKPOINTED] = accounts.counts.get(JOINED, 0)
        self._results.write(self._experiment.id, Batch(self._rows, accounts.counts, result, checkpoint))
        self._rows = []
        accounts.changed = accounts.changed and result is None

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

    def _follow(self, tap: Tap) -> None:
        """Another sample from now on; another model than the one that this is about."""
        self._accounts.follow_sample()
        with contextlib.suppress(StopgapError):
            if self._models.belonging().bound != self._experiment.bound:
                log.warning("a model was replaced: a new experiment is begun")
                self._begin(tap)

    def _begin(self, tap: Tap | None) -> None:
        belonging = self._models.belonging()
        self._experiment = self._results.begin(belonging.bound, belonging.told)
        self._rows = []
        self._judge = Judge(self._plan)
        self._accounts.begin(tap)
        # At once: who is killed in the first second still knows where counting began.
        self._results.write(self._experiment.id, Batch(counts=self._accounts.counts))

    def _judge_drops(self) -> None:
        known = self._judge.drops
        for reason, number in self._accounts.totals.dropped.items():
            if number > known.get(reason, 0):
                self._judge.dropped(number - known.get(reason, 0), reason)
