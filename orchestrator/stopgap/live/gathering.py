"""All that is known of a state folder at a moment: asked of its files, engines, fronts, sandboxes and observers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from shlex import quote
from typing import Any, Optional

from stopgap.conditions import Condition, Health, look, unfinished
from stopgap.engines.choice import Engines
from stopgap.errors import FrontError, StopgapError
from stopgap.front.admin import Admin, ClusterHealth
from stopgap.front.arms import Arm, arms, together
from stopgap.front.routes import Kind
from stopgap.front.traffic import Traffic, traffic
from stopgap.incidents import WorkersState, ask_workers_state
from stopgap.ledger.reading import Reading, reading_of
from stopgap.legacy_requests import note_all
from stopgap.live.history import Flow, History
from stopgap.live.rounds import Answer, Rounds
from stopgap.observer.recorded import Watched, watched
from stopgap.observer.report import Report, report
from stopgap.quiet import LegacyTraffic
from stopgap.recordings import RECORDINGS
from stopgap.settings import NAME
from stopgap.shadows import RESULTS, folder_of, shadow_names
from stopgap.stages import HandOver, Stage
from stopgap.store import Deployment, Store
from stopgap.sunset import utc_now
from stopgap.takeovers import takeover_of

__all__ = ["CountedArm", "Gathering", "ModelSeen", "Remains", "Snapshot"]

LATE_S = 5.0  # who has not answered for so long is told of
STALE_S = 15.0  # and what was said before is not told any more
NOTE_EVERY_S = 30.0

# What is asked of whom, as the keys of questions.
MODEL, SANDBOX, FRONT = "model", "sandbox", "front"
SHADOW, RECORDING, LEDGER = "shadow", "recording", "ledger"
KEPT_IN_FILES = {SHADOW, RECORDING, LEDGER}  # of which a reason is told where they cannot be read
UNFINISHED, NOTES = ("unfinished", ""), ("notes", "")

Question = Callable[[], Any]


@dataclass(frozen=True)
class CountedArm:
    """What one of two models was asked for a name that is taken over, and by whom."""

    who: str
    arm: Arm


@dataclass(frozen=True)
class FrontSeen:
    """What one front says, by the models' names.

    Attributes:
        at_s: When it was asked, by a clock that only goes on.
    """

    at_s: float
    traffic: Mapping[str, Traffic]
    workers: Mapping[str, ClusterHealth]
    arms: Mapping[str, tuple[CountedArm, ...]]


@dataclass(frozen=True)
class ModelSeen:
    """One deployment.

    Attributes:
        health: None where its engine has not answered.
        incidents: None where its sandbox has not.
        traffic: None where its front has not; so `workers`.
        flow: What it is asked now.
        record: Of the hand-over of which it is the legacy model.
        candidate_in: Of that of which it is the candidate.
        asked_beside: Whose users' requests it is shown by an observer; empty where it is nobody's shadow.
        arms: What both were asked, where its name is taken over.
        noted: What is still asked of it by its own version.
        shadow: What is known of its shadow; None where it has none.
        recording: Likewise of its recording.
        ledger: Of what is noted of its callers, while they are split.
        late: Who has not answered, and for how many seconds.
        problems: What else could not be known, in words.
    """

    deployment: Deployment
    health: Optional[Health] = None  # noqa: UP045 - read by Python 3.9 too
    incidents: Optional[WorkersState] = None  # noqa: UP045
    traffic: Optional[Traffic] = None  # noqa: UP045
    workers: Optional[ClusterHealth] = None  # noqa: UP045
    flow: Flow = field(default_factory=Flow)
    record: Optional[HandOver] = None  # noqa: UP045
    candidate_in: Optional[HandOver] = None  # noqa: UP045
    asked_beside: str = ""
    arms: tuple[CountedArm, ...] = ()
    noted: Optional[LegacyTraffic] = None  # noqa: UP045
    shadow: Optional[Report] = None  # noqa: UP045
    recording: Optional[Watched] = None  # noqa: UP045
    ledger: Optional[Reading] = None  # noqa: UP045
    late: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.deployment.name


@dataclass(frozen=True)
class Remains:
    """What has a name and is no deployment, or none that can be read; and what to do about it.

    Attributes:
        problem: A sentence; empty where there is none.
        record: Of a retired name.
    """

    name: str
    condition: Condition
    problem: str
    remedy: str
    record: Optional[HandOver] = None  # noqa: UP045


@dataclass(frozen=True)
class Snapshot:
    """All of it.

    Attributes:
        number: How many there were before.
        folder: The state folder.
        problem: Why nothing can be known; empty where something is.
    """

    number: int
    at: datetime
    folder: str
    models: tuple[ModelSeen, ...] = ()
    remains: tuple[Remains, ...] = ()
    problem: str = ""


class Gathering:
    """Looks again and again, in one thread. What it remembers is what a front has counted while it looked.

    Args:
        deadline_s: How long a look lasts at most.
    """

    def __init__(self, store: Store, deadline_s: float) -> None:
        self._store = store
        self._rounds = Rounds(deadline_s, STALE_S)
        self._histories: dict[str, History] = {}
        self._number = 0
        self._notes_due = 0.0

    def look(self) -> Snapshot:
        """Once, at everything."""
        number, self._number = self._number, self._number + 1
        folder = str(self._store.folder)
        try:
            found, records = self._store.deployments(), self._store.hand_overs()
            models = tuple({each.name: each for each in found if NAME.fullmatch(each.name)}.values())
            answers = self._rounds.ask(self._questions(models, records))
            self._add_to_histories(models, answers)
            seen = tuple(self._seen(each, records, answers) for each in models)
            odd = tuple(misnamed(each) for each in found if each not in models)
            return Snapshot(number, utc_now(), folder, seen, (*odd, *self._remains(records, answers)))
        except StopgapError as error:
            return Snapshot(number, utc_now(), folder, problem=f"{error.problem} {error.remedy}")

    def _questions(
        self, models: tuple[Deployment, ...], records: tuple[HandOver, ...]
    ) -> dict[tuple[str, str], Question]:
        store = self._store
        found: dict[tuple[str, str], Question] = {}
        for each in models:
            found[MODEL, each.name] = partial(health_seen, each, store)
            found[SANDBOX, each.name] = partial(ask_workers_state, each, store)
        for port in {each.front.grpc_port for each in models}:
            found[FRONT, str(port)] = partial(front_seen, port, models, records, store)
        for name in shadowed(models, store):
            found[SHADOW, name] = partial(report, name, store)
        for name in RECORDINGS.names(store):
            found[RECORDING, name] = partial(watched, name, store)
        for record in records:
            if record.stage is Stage.SPLIT:
                found[LEDGER, record.name] = partial(reading_of, record, store)
        if store.has_fronts():
            found[UNFINISHED] = lambda: unfinished(Engines(store.folder), store)
        if any(record.stage is Stage.PROMOTED for record in records) and time.monotonic() > self._notes_due:
            found[NOTES] = lambda: note_all(store)  # every look counts: what a front had counted when it ended is gone
            self._notes_due = time.monotonic() + NOTE_EVERY_S
        return found

    def _add_to_histories(self, models: tuple[Deployment, ...], answers: Mapping[Any, Answer]) -> None:
        self._histories = {each.name: self._histories.get(each.name) or History() for each in models}
        for each in models:
            front: FrontSeen | None = answers[FRONT, str(each.front.grpc_port)].value
            if front is None:
                self._histories[each.name].add(time.monotonic(), None)
            else:
                self._histories[each.name].add(front.at_s, front.traffic.get(each.name))

    def _seen(
        self, deployment: Deployment, records: tuple[HandOver, ...], answers: Mapping[tuple[str, str], Answer]
    ) -> ModelSeen:
        name = deployment.name
        asked = {
            "engine": answers[MODEL, name],
            "sandbox": answers[SANDBOX, name],
            "front": answers[FRONT, str(deployment.front.grpc_port)],
            **{what: answers.get((what, name), Answer()) for what in (SHADOW, RECORDING, LEDGER)},
        }
        front: FrontSeen | None = asked["front"].value
        record = next((each for each in records if each.name == name), None)
        return ModelSeen(
            deployment,
            health=asked["engine"].value,
            incidents=asked["sandbox"].value,
            traffic=front.traffic.get(name) if front else None,
            workers=front.workers.get(name) if front else None,
            flow=self._histories[name].flow(time.monotonic()),
            record=record,
            candidate_in=next((each for each in records if each.candidate and each.candidate.name == name), None),
            asked_beside=asked_beside(name, answers),
            arms=front.arms.get(name, ()) if front else (),
            noted=self._store.legacy_traffic(name) if record and record.stage is Stage.PROMOTED else None,
            shadow=asked[SHADOW].value,
            recording=asked[RECORDING].value,
            ledger=asked[LEDGER].value,
            late={who: answer.late_s for who, answer in asked.items() if answer.late_s > LATE_S},
            problems=tuple(answer.problem for who, answer in asked.items() if who in KEPT_IN_FILES and answer.problem),
        )

    def _remains(self, records: tuple[HandOver, ...], answers: Mapping[tuple[str, str], Answer]) -> tuple[Remains, ...]:
        store = self._store
        damaged = [Remains(each.name, Condition.DAMAGED, each.problem, each.remedy) for each in store.damaged()]
        damaged += [
            Remains(name, Condition.DAMAGED, error.problem, error.remedy) for name, error in store.hand_overs_damaged()
        ]
        damaged += [
            Remains("a model’s sunset", Condition.DAMAGED, error.problem, error.remedy)
            for error in store.damaged_sunsets()
        ]
        left = [
            Remains(name, Condition.UNFINISHED, "It was not served to the end.", f"stopgap stop {quote(name)}")
            for name in answers.get(UNFINISHED, Answer()).value or ()
        ]
        retired = [
            Remains(each.name, Condition.RETIRED, "", f"stopgap stop {quote(each.name)}", each)
            for each in records
            if each.stage is Stage.RETIRED and each.name not in store.names()
        ]
        return (*damaged, *left, *retired)


def shadowed(models: tuple[Deployment, ...], store: Store) -> set[str]:
    """Who has a shadow, or had one of which is left what it found."""
    found = {each.name for each in models if (folder_of(each.name, store) / RESULTS).exists()}
    return found.union(shadow_names(store))


def asked_beside(name: str, answers: Mapping[tuple[str, str], Answer]) -> str:
    for (what, legacy), answer in answers.items():
        if what == SHADOW and answer.value and answer.value.shadow and answer.value.shadow.candidate == name:
            return legacy
    return ""


def misnamed(deployment: Deployment) -> Remains:
    """Of a file that somebody has copied, or written: nothing is asked by such a name."""
    told = "A state file has this name in it, which is another's or cannot be one."
    return Remains(deployment.name, Condition.DAMAGED, told, "stopgap status")


def health_seen(deployment: Deployment, store: Store) -> Health:
    """By an engine that is reached anew: it may have been started again since."""
    return look(deployment, Engines(store.folder), store)


def front_seen(port: int, models: tuple[Deployment, ...], records: tuple[HandOver, ...], store: Store) -> FrontSeen:
    """
    Raises:
        FrontError: No Envoy answers.
    """
    admin = Admin(store.front_folder(port) / "admin")
    named = {each.name: each for each in models if each.front.grpc_port == port}
    at_s, counted = time.monotonic(), traffic(admin, named)
    workers = {}
    for name in named:
        with contextlib.suppress(FrontError):  # it does not know that model just now
            workers[name] = admin.cluster_health(name)
    taken = [record for record in records if record.grpc_port == port]
    return FrontSeen(at_s, counted, workers, {each.name: arms_of(each, named, admin) for each in taken})


def arms_of(record: HandOver, models: Mapping[str, Deployment], admin: Admin) -> tuple[CountedArm, ...]:
    """Since the change, or since the front was started.

    Raises:
        FrontError: No Envoy answers.
    """
    takeover = takeover_of(record, models)
    if takeover is None:
        return ()
    found = arms(admin, takeover.counted, (record.name, takeover.candidate))
    rows = {
        "candidate’s callers": (takeover.candidate, Kind.KEYED),
        "legacy’s callers": (record.name, Kind.KEYED),
        "told no key": (record.name, Kind.KEYLESS),
        "all callers": (takeover.candidate, Kind.ALL),
        "asked for its version": (record.name, Kind.PINNED),
    }
    shown = {Kind.ALL, Kind.PINNED} if takeover.split is None else {Kind.KEYED, Kind.KEYLESS, Kind.PINNED}
    return tuple(CountedArm(who, together(found, model, kind)) for who, (model, kind) in rows.items() if kind in shown)
