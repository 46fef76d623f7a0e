"""Pairs of answers made up for the tests of the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from stopgap.comparison.judge import Judge
from stopgap.comparison.pairs import Answer, Case, Failure, Pair
from stopgap.comparison.plan import Plan
from stopgap.comparison.result import Finding
from stopgap.comparison.sight import Sight, sight_of

FAILED = Answer(failure=Failure("INTERNAL", "it broke"))


def answer(outputs: Mapping[str, Any] | None, code: str = "INTERNAL", latency_s: float | None = None) -> Answer:
    if outputs is None:
        return Answer(failure=Failure(code, "it broke"), latency_s=latency_s)
    return Answer({name: as_given(value) for name, value in outputs.items()}, latency_s=latency_s)


def as_given(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else np.array(value)


def pair(
    legacy: Mapping[str, Any] | None,
    candidate: Mapping[str, Any] | None,
    number: int = 0,
    key: str = "",
    **extras: Any,
) -> Pair:
    case = Case(number, {"x": np.array([number])}, key=key, extras={name: np.array(v) for name, v in extras.items()})
    return Pair(case, answer(legacy), answer(candidate))


def plan(*conditions: Mapping[str, Any], mode: str = "retrained", **settings: Any) -> Plan:
    return Plan.of(mode=mode, conditions=list(conditions), **settings)


def seen(condition: Mapping[str, Any], legacy: Any, candidate: Any, mode: str = "retrained", **extras: Any) -> Sight:
    """What one measure of the output `y` sees; None for a model that failed."""
    made = plan({"output": "y", **condition}, mode=mode)
    sides = [side if side is None or isinstance(side, dict) else {"y": side} for side in (legacy, candidate)]
    return sight_of(made.measure(made.conditions[0]), pair(sides[0], sides[1], **extras))


def judged(plan: Plan, pairs: list[Pair], **settings: Any) -> Judge:
    judge = Judge(plan, **settings)
    for each in pairs:
        judge.add(each)
    return judge


def only(judge: Judge) -> Finding:
    (finding,) = judge.result().conditions
    return finding
