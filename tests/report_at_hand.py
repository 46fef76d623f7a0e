"""Documents for the tests of the report: real judges over models made up for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from stopgap.asking.keeping import kept_cases, redaction_of
from stopgap.comparison.closeness import Floor
from stopgap.comparison.document import DataFile, Document, Party
from stopgap.comparison.judge import Judge
from stopgap.comparison.pairs import Answer, Case, Failure, Pair
from stopgap.comparison.plan import Plan
from stopgap.comparison.result import Result

__all__ = ["CONVERSION", "RETRAINED", "conversion", "document", "pairs", "retrained"]

CLASSES: Final = (b"cat", b"dog", b"fox", b"owl", b"bee")
RETRAINED: Final[Mapping[str, Any]] = {
    "mode": "retrained",
    "slices": ["country"],
    "independent": True,
    "window": 200,
    "conditions": [
        {"measure": "equal", "output": "label", "margin": 0.97},
        {"measure": "jensen_shannon", "output": "probs", "margin": 0.05},
        {"measure": "difference", "output": "score"},
        {"measure": "latency", "budget_s": 0.02, "margin": 0.5},
    ],
}
CONVERSION: Final[Mapping[str, Any]] = {
    "mode": "conversion",
    "atol": 1e-5,
    "conditions": [{"measure": "close", "margin": 0.9}],
}


def pairs(
    units: int, *, seed: int = 0, wrong: float = 0.04, classes: tuple[bytes, ...] = CLASSES, noise: float = 0.05
) -> list[Pair]:
    """A picture and a text are asked; a label, probabilities and a score are answered, now and then nothing.

    Args:
        wrong: The share of `cat` that becomes `dog`, and a tenth of it the other way round.
    """
    drawn = np.random.default_rng(seed)
    countries = np.array(["de", "fr", "pl", "<b>br</b>"])
    found = []
    for number in range(units):
        place = int(drawn.integers(0, len(classes)))
        probs = drawn.dirichlet(np.where(np.arange(len(classes)) == place, 30.0, 1.0))
        turned = {0: 1, 1: 0}.get(place, place) if drawn.random() < (wrong if place else 5 * wrong) else place
        other = np.abs(probs + drawn.normal(0, noise, len(classes)) * probs)
        if turned != place:
            other[[place, turned]] = other[[turned, place]]
        score = drawn.normal()
        picture = np.zeros((1, 28, 28, 1), np.uint8)
        picture[0, 4:24, 4 + 4 * place : 8 + 4 * place] = 255
        picture = np.maximum(picture, drawn.integers(0, 60, picture.shape, np.uint8))
        inputs = {"image": picture, "text": np.array([f"request {number} of somebody".encode()], object)}
        extras = {"country": np.array([countries[number % 4]])}
        ours = Answer(answered(classes[place], probs, score), latency_s=float(drawn.lognormal(-5.2, 0.3)))
        theirs = Answer(
            answered(classes[turned], other / other.sum(), score + drawn.normal(0.02, 0.1)),
            latency_s=float(drawn.lognormal(-5.9, 0.45)),
        )
        if drawn.random() < 0.004:
            theirs = Answer(failure=Failure("DEADLINE_EXCEEDED", "too late"))
        found.append(Pair(Case(number, inputs, extras=extras), ours, theirs))
    return found


def answered(label: bytes, probs: Any, score: float) -> dict[str, Any]:
    return {
        "label": np.array([label], object),
        "probs": probs[np.newaxis].astype(np.float64),
        "score": np.array([score], np.float32),
    }


def retrained(units: int = 600, *, kept: bool = True, **settings: Any) -> Document:
    """New weights: one margin missed, with everything that a report shows."""
    given = pairs(units)
    plan = Plan.of(**{**RETRAINED, **settings})
    judge = judged(plan, given)
    judge.dropped(3, "larger than 1 MiB")
    return document(plan, judge.result(), given if kept else [])


def conversion(units: int = 300) -> Document:
    """The same weights: errors of every size, and a noise floor."""
    drawn = np.random.default_rng(1)
    given = []
    for each in pairs(units, wrong=0.0, noise=0.0):
        outputs = dict(each.legacy.outputs or {})
        score = np.asarray(outputs["score"], np.float64)
        size = 0.0 if drawn.random() < 0.3 else drawn.lognormal(-14, 2)
        theirs = {**outputs, "score": (score + size).astype(np.float32)}
        given.append(Pair(each.case, each.legacy, Answer(theirs, latency_s=each.candidate.latency_s)))
    plan = Plan.of(**CONVERSION)
    floor = Floor({"score": 3e-7, "label": 0.0, "probs": 1e-8}, {"score": 0.12, "label": 0.0, "probs": 0.3}, (), 8)
    judge = judged(plan, given, floor.largest)
    return document(plan, judge.result(), [], noise=floor)


def judged(plan: Plan, given: list[Pair], floor: Mapping[str, float] | None = None) -> Judge:
    judge = Judge(plan, floor, whole_file=True)
    for each in given:
        judge.add(each)
    return judge


def document(plan: Plan, result: Result, given: list[Pair], noise: Floor | None = None) -> Document:
    """All of it; the worst cases are kept where the pairs are given."""
    wanted = {case.number for finding in result.conditions for case in finding.worst}
    kept = [pair for pair in given if pair.case.number in wanted]
    return Document(
        result,
        Party("the folder models/animals_v1, served by tf-1.15.5", "5f" * 32),
        Party("animals_v2 at 127.0.0.1:8500"),
        DataFile("data/requests.npz", "npz", "c1" * 32),
        plan.stated,
        noise,
        tuple(kept_cases(kept, plan, redaction_of(plan))),
        tuple(str(rule) for rule in redaction_of(plan).rules),
        {"at": "2026-11-27 02:00 UTC", "stopgap": "0.1.0"},
    )
