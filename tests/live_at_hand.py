"""What a live page may be shown: models in every stage, a real judge's result, and names that nobody should have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Final

from stopgap.comparison.judge import Judge
from stopgap.comparison.plan import Plan
from stopgap.conditions import Condition, Health
from stopgap.front.admin import ClusterHealth
from stopgap.front.arms import Arm
from stopgap.front.routes import Kind
from stopgap.front.traffic import Answered, Durations, Traffic
from stopgap.incidents import Incident, WorkersState
from stopgap.live.gathering import CountedArm, ModelSeen, Snapshot
from stopgap.live.history import BINS, Flow
from stopgap.observer.counting import Totals
from stopgap.observer.course import Reading
from stopgap.observer.report import Report
from stopgap.observer.results import Experiment
from stopgap.person import Person
from stopgap.shadows import Shadow
from stopgap.stages import HandOver, Key, Model, Stage, begun, moved

from tests.report_at_hand import pairs
from tests.unit.test_store import RANKER

__all__ = ["NOW", "hostile", "model", "shadow", "snapshot", "split"]

NOW: Final = datetime(2026, 12, 1, 12, 0, tzinfo=timezone.utc)
PLAN: Final = Plan.of(
    mode="retrained",
    conditions=[
        {"measure": "equal", "output": "label", "margin": 0.8},
        {"measure": "jensen_shannon", "output": "probs", "margin": 0.05},
    ],
)
QUIET: Final = WorkersState(workers=2, backing_off_s=0.0, quarantined=0, counts={}, incidents=())
ASKED: Final = Traffic(
    (Answered("grpc", "Predict", "0", 900), Answered("grpc", "GetModelStatus", "0", 10_000)),
    Durations(MappingProxyType({0.005: 700, 0.05: 900}), 900, 3.2),
)
BUSY: Final = Flow(
    rate=17.94,
    failed=0.0162,
    mean_s=0.00535,
    half_s=0.0025,
    nearly_all_s=0.05,
    rates=(*[float("nan")] * (BINS - 20), *range(20)),
    failures=(*[float("nan")] * (BINS - 20), *[0.0] * 15, *range(5)),
    means=(*[float("nan")] * (BINS - 20), *[0.005] * 20),
)


def model(name: str = "ranker", condition: Condition = Condition.SERVING, **seen: Any) -> ModelSeen:
    """One that is up and asked, but for what is said."""
    deployment = replace(RANKER, name=name)
    health = Health(deployment, condition, 51.5, "cgroup v2", seen.pop("detail", ""))
    known = {"incidents": QUIET, "traffic": ASKED, "workers": ClusterHealth(2, 2), "flow": BUSY}
    return ModelSeen(deployment, health, **{**known, **seen})


def snapshot(*models: ModelSeen, number: int = 0, **known: Any) -> Snapshot:
    return Snapshot(number, NOW, "/home/somebody/.local/state/stopgap", models, **known)


def shadow(units: int = 400, *, outcome: str = "", **changes: Any) -> Report:
    """Of `ranker`, as its observer has found it; with no units before anything was compared."""
    wanted = Shadow("ranker", 100_000, "token", ready=True, candidate="ranker2", typed="ranker2")
    judge, course = Judge(PLAN), dict[int, list[Reading]]()
    for number, pair in enumerate(pairs(units), 1):
        judge.add(pair)
        if number % 50 == 0:
            for place, finding in enumerate(judge.result().conditions):
                at_s = NOW.timestamp() - units + number
                read = (finding.estimate, finding.lower, finding.upper, finding.outcome)
                course.setdefault(place, []).append(Reading(at_s, finding.units, *read))
    result = judge.result().as_json() if units else None
    if result and outcome:
        result["outcome"] = outcome
    told = {side: {"told": side, "digest": "5" * 64} for side in ("legacy", "candidate")}
    experiment = Experiment(1, "bound", told, 1.0, None, result, NOW.timestamp(), 0)
    totals = Totals(10 * units, units, 0.0, units, 0, 0, units, units, {})
    return replace(Report("ranker", wanted, True, experiment, totals, (), course), **changes)


def split(legacy: str = "ranker", candidate: str = "ranker2", stage: Stage = Stage.SPLIT) -> HandOver:
    """A hand-over that has come so far, straight from its beginning."""
    record = begun(Model(legacy, "5" * 64, 7), 8500)
    terms: dict[str, Any] = {"candidate": Model(candidate, "6" * 64, 1), "now": NOW, "by": Person(0, "root")}
    if stage is Stage.SPLIT:
        return moved(record, stage, share=1000, key=Key("header", "x-user-id"), salt="0" * 16, **terms)
    promoted = moved(record, Stage.PROMOTED, **terms)
    return promoted if stage is Stage.PROMOTED else moved(promoted, stage, **{**terms, "now": NOW + timedelta(days=9)})


def arm(who: str, answered_by: str, kind: Kind, asked: int, failed: int) -> CountedArm:
    codes = {("grpc", "0"): asked - failed, ("grpc", "13"): failed}
    times = Durations({0.0025: asked // 2, 0.05: asked}, asked, asked * 0.004)
    return CountedArm(who, Arm(kind, answered_by, codes, times))


def incident(cause: str = "killed by signal 11", lines: Sequence[str] = ("out of range",)) -> Incident:
    return Incident("i-1", "quarantined", NOW, "lane", cause, "ab" * 16, 77, tuple(lines))


def hostile(texts: Sequence[str]) -> Snapshot:
    """Everything that a model, a caller, a sandbox or a file decides about is one of these."""
    everything = "".join(texts)
    found = shadow(150)
    assert found.shadow is not None
    assert found.experiment is not None
    assert found.result
    conditions = [{**each, "name": everything, "reason": everything} for each in found.result["conditions"]]
    result = {**found.result, "conditions": conditions, "reason": everything, "notices": list(texts)}
    odd = replace(
        found,
        shadow=replace(found.shadow, candidate=texts[0], typed=texts[1], served_for_it=True),
        experiment=replace(found.experiment, result=result),
        totals=replace(found.totals, dropped=dict.fromkeys(texts, 2)),
        warnings=tuple(texts),
    )
    counts = {"died": 1, texts[0]: 2}
    incidents = WorkersState(1, 0.0, 10**40, counts, tuple(incident(text, [text]) for text in texts))
    incidents = replace(incidents, incidents=tuple(replace(each, kind=each.cause) for each in incidents.incidents))
    record = replace(split(), candidate=replace(split().candidate or Model("", "", 0), name=texts[1]))
    arms = (arm(texts[0], texts[1], Kind.KEYED, 10, 1),)
    models = [
        model(
            text,
            Condition.DOWN,
            detail=text,
            incidents=incidents,
            shadow=odd,
            record=record,
            arms=arms,
            problems=(text,),
        )
        for text in texts
    ]
    return snapshot(*models, problem=everything)
