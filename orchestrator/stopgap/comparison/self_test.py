"""Whether the stated margins would notice: damage done to the legacy model's own answers, and judged.

Damage that nobody notices with these data at this many units is told as "not covered", before anybody relies on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stopgap.comparison.gauges import Terms, gauge_for
from stopgap.comparison.pairs import Answer, Pair
from stopgap.comparison.plan import MEAN, Condition, Plan
from stopgap.comparison.sight import Evidence, sight_of
from stopgap.comparison.values import Floats, as_array, numbers
from stopgap.progress import Progress, silent
from stopgap.verdict import Bets, agreement

__all__ = ["DETECTED", "DRAWS", "Damage", "Detection", "SelfTest", "self_test"]

DETECTED = 0.9  # of the draws
PHASE = "damaging the legacy model's answers"
SIZES = (0.01, 0.03, 0.1, 0.3, 1.0)  # of an output's own standard deviation
MULTIPLES = (0.5, 1.0, 2.0, 4.0)  # of the share that the margin leaves
DRAWS = 40
UNKNOWN, EXCLUDED = math.inf, -math.inf
MOST_AT_ONCE = 1 << 20  # values, of the draws that are judged together

Damaging = Callable[[Pair, np.random.Generator], Answer]


@dataclass(frozen=True)
class Damage:
    """What is done to the answers.

    Attributes:
        kind: `classes permuted`, say.
        size: How much of it; 1 where there is only one.
        harm: From a pair of the legacy model's answers to the candidate's, under the legacy model's names.
        share: Of how many units.
    """

    kind: str
    size: float
    harm: Damaging
    share: float = 1.0


@dataclass(frozen=True)
class Detection:
    """How often a damage failed.

    Attributes:
        passed: Share of the draws; what neither passed nor failed was inconclusive.
    """

    kind: str
    size: float
    share: float
    passed: float
    failed: float

    @property
    def detected(self) -> bool:
        return self.failed >= DETECTED


@dataclass(frozen=True)
class SelfTest:
    """All of it.

    Attributes:
        units: How many were judged in each draw.
        intact: The legacy model against itself: it should pass.
        smallest: By kind, the smallest size that is detected.
        undecided: Kinds of which no size is detected, but that do not pass either: with more units they may be.
        not_covered: Kinds that pass at every size: these margins cannot see them.
    """

    units: int
    draws: int
    intact: Detection
    detections: tuple[Detection, ...]
    smallest: Mapping[str, float]
    undecided: tuple[str, ...]
    not_covered: tuple[str, ...]


def self_test(
    plan: Plan,
    pairs: Sequence[Pair],
    floor: Mapping[str, float] | None = None,
    *,
    whole_file: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
    further: Mapping[str, Damaging] | None = None,
    progress: Progress = silent,
) -> SelfTest:
    """Judges damaged answers in so many draws of the units, with replacement.

    Args:
        pairs: Distinct units; only the legacy model's answers are used.
        further: Damage of one's own by its kind: the answers under stale preprocessing, say.
        progress: Told how much is tried.
    """
    random = np.random.default_rng(seed)
    alone = [replace(pair, candidate=pair.legacy) for pair in pairs if pair.legacy.outputs is not None]
    bench = Bench(plan, alone, floor or {}, plan.terms(whole_file=whole_file), draws)
    intact = bench.tried(Damage("none", 0.0, lambda pair, _: pair.legacy), random)
    mine = [Damage(kind, 1.0, harm) for kind, harm in (further or {}).items()]
    tried = [*damages(plan, alone), *mine]
    detections = tuple(
        bench.tried(damage, random) for damage in told(tried, lambda done: progress(PHASE, done / len(tried)))
    )
    kinds = list(dict.fromkeys(each.kind for each in detections))
    smallest = {
        kind: min(each.size for each in detections if each.kind == kind and each.detected)
        for kind in kinds
        if any(each.detected for each in detections if each.kind == kind)
    }
    unseen = [kind for kind in kinds if all(each.passed >= DETECTED for each in detections if each.kind == kind)]
    undecided = tuple(kind for kind in kinds if kind not in smallest and kind not in unseen)
    return SelfTest(len(alone), draws, intact, detections, smallest, undecided, tuple(unseen))


def told(damages: Sequence[Damage], done: Callable[[int], None]) -> Iterator[Damage]:
    for number, damage in enumerate(damages):
        done(number)
        yield damage


class Bench:
    """Looks at each damaged answer once, and draws from what was seen."""

    def __init__(self, plan: Plan, pairs: Sequence[Pair], floor: Mapping[str, float], terms: Terms, draws: int) -> None:
        self._plan, self._pairs, self._terms, self._draws = plan, pairs, terms, draws
        found = [(condition, plan.measure(condition, floor)) for condition in plan.conditions]
        self._judged = [(each, measure) for each, measure in found if measure.evidence.kind != "shown"]
        self._intact = self._seen([pair.legacy for pair in pairs])

    def tried(self, damage: Damage, random: np.random.Generator) -> Detection:
        damaged = self._seen([damage.harm(pair, random) for pair in self._pairs])
        outcomes: list[str] = []
        at_once = max(1, MOST_AT_ONCE // max(1, len(self._pairs)))
        for start in range(0, self._draws, at_once):
            chosen = [self._drawn(damage.share, random) for _ in range(start, min(self._draws, start + at_once))]
            places, hit = (np.stack(each) for each in zip(*chosen))
            outcomes += self._outcomes(damaged, places, hit)
        return Detection(
            damage.kind,
            damage.size,
            damage.share,
            outcomes.count("PASS") / self._draws,
            outcomes.count("FAIL") / self._draws,
        )

    def _seen(self, answers: Sequence[Answer]) -> Floats:
        """Shape [conditions, units]."""
        rows = [
            [self._value(measure, replace(pair, candidate=answer)) for pair, answer in zip(self._pairs, answers)]
            for _, measure in self._judged
        ]
        return np.array(rows, dtype=np.float64).reshape(len(self._judged), len(answers))

    def _value(self, measure: Any, pair: Pair) -> float:
        sight = sight_of(measure, pair)
        if sight.excluded:
            return EXCLUDED
        if sight.unknown or not sight.values.size:
            return UNKNOWN
        whole = measure.evidence.kind == "share" and self._plan.rows != MEAN
        return float(sight.values.min() if whole else sight.values.mean())

    def _drawn(self, share: float, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Which units, and which of them are damaged."""
        places = random.integers(0, len(self._pairs), len(self._pairs)) if self._pairs else np.zeros(0, np.int64)
        return places, random.random(len(places)) < share

    def _outcomes(self, damaged: Floats, places: NDArray[np.int64], hit: NDArray[np.bool_]) -> list[str]:
        """Of each draw, the worst of its conditions."""
        by_condition = []
        for (condition, measure), intact, harmed in zip(self._judged, self._intact, damaged):
            by_condition.append(self._of(condition, measure.evidence, np.where(hit, harmed[places], intact[places])))
        return [worst_of(set(outcomes)) for outcomes in zip(*by_condition)] or ["INCONCLUSIVE"] * len(places)

    def _of(self, condition: Condition, evidence: Evidence, values: Floats) -> list[str]:
        """Shape [draws, units]."""
        share = evidence.kind == "share" and self._plan.rows != MEAN
        if not share and condition.margin is not None and (self._terms.independent or not self._terms.whole_file):
            return by_bets(values, evidence, condition.margin, self._terms.alpha)
        return [self._alone(condition, evidence, draw, share=share) for draw in values]

    def _alone(self, condition: Condition, evidence: Evidence, values: Floats, *, share: bool) -> str:
        counting = values[values != EXCLUDED]
        known = counting[counting != UNKNOWN]
        unknown = len(counting) - len(known)
        if share and not self._terms.whole_file:
            judge = agreement(margin=condition.margin, alpha=self._terms.alpha, most_units=self._terms.most_units)
            return judge.update(known >= 1, unknown).outcome
        gauge = gauge_for(evidence, condition.margin, self._terms, fractions=not share)
        for value in known:
            gauge.add(float(value))
        gauge.drop(unknown)
        return gauge.read().outcome


def worst_of(outcomes: set[str]) -> str:
    return next((each for each in ("FAIL", "INCONCLUSIVE") if each in outcomes), "PASS" if outcomes else "INCONCLUSIVE")


def by_bets(values: Floats, evidence: Evidence, margin: float, alpha: float) -> list[str]:
    """What `stopgap.verdict.bounded` decides, at the margin alone: its whole grid would take minutes for all draws.

    Args:
        values: Shape [draws, units], with `UNKNOWN` and `EXCLUDED` among them.
    """
    width = evidence.high - evidence.low
    with np.errstate(invalid="ignore"):
        scaled, at = (values - evidence.low) / width, (margin - evidence.low) / width
    if evidence.higher_is_better:
        scaled, at = 1 - scaled, 1 - at
    unknown, excluded = values == UNKNOWN, values == EXCLUDED
    passed, failed = (
        log_capitals(np.where(unknown, 0.0, np.where(excluded, mean, gains)), mean) >= math.log(1 / alpha)
        for gains, mean in ((1 - scaled, 1 - at), (scaled, at))
    )
    return ["INCONCLUSIVE" if below == above else "PASS" if below else "FAIL" for below, above in zip(passed, failed)]


def log_capitals(values: Floats, mean: float) -> Floats:
    """Of the bets that the mean of each row is above another: what is that mean itself changes nothing."""
    bets = Bets(np.array([mean]), (len(values),))
    bets.settle(values)
    return bets.log_capitals()[:, 0]


def damages(plan: Plan, pairs: Sequence[Pair]) -> list[Damage]:
    """What is tried, as far as the outputs that count can suffer it."""
    found: list[Damage] = []
    for output in sorted({condition.output for condition in plan.conditions if condition.output}):
        samples = [sample for sample in (scores(pair.legacy, output) for pair in pairs) if sample is not None]
        if not samples:
            continue
        spread = float(np.std(np.concatenate([sample.ravel() for sample in samples])))
        if all(sample.ndim > 1 and sample.shape[-1] > 1 for sample in samples):
            found.append(Damage(f"classes permuted in {output}", 1.0, of_output(output, permuted)))
        for size in SIZES:
            moved = size * spread
            found.append(Damage(f"scores shifted in {output}", size, of_output(output, shifted(moved))))
            found.append(Damage(f"scores scaled in {output}", size, of_output(output, scaled(1 + size))))
            found.append(Damage(f"noise in {output}", size, of_output(output, noisy(moved))))
    for multiple in MULTIPLES:
        share = min(1.0, multiple * left_by(plan))
        found.append(Damage("answers to other requests", multiple, of_another(pairs), share))
        found.append(Damage("no answer", multiple, lambda pair, random: Answer(), share))  # noqa: ARG005 - as every damage is called
    return found


def left_by(plan: Plan) -> float:
    """The smallest share that any margin on a share leaves to disagree; 1 % where there is none."""
    left = [
        1 - condition.margin
        for condition in plan.conditions
        if condition.margin is not None and plan.measure(condition).evidence.kind == "share"
    ]
    return min(left, default=0.01)


def scores(answer: Answer, output: str) -> Floats | None:
    array = as_array((answer.outputs or {}).get(output))
    found = None if array is None or array.dtype.kind != "f" else numbers(array)
    return None if found is None or not found.size or not np.isfinite(found).all() else found


def of_output(output: str, change: Callable[[Floats, np.random.Generator], Floats]) -> Damaging:
    def harm(pair: Pair, random: np.random.Generator) -> Answer:
        found = scores(pair.legacy, output)
        if found is None or pair.legacy.outputs is None:
            return pair.legacy
        kind = np.asarray(pair.legacy.outputs[output]).dtype
        return replace(pair.legacy, outputs={**pair.legacy.outputs, output: change(found, random).astype(kind)})

    return harm


def of_another(pairs: Sequence[Pair]) -> Damaging:
    """Answers that are all right, of the same distribution, and not to this request."""

    def harm(pair: Pair, random: np.random.Generator) -> Answer:  # noqa: ARG001 - likewise
        return pairs[int(random.integers(0, len(pairs)))].legacy

    return harm


def permuted(values: Floats, _: np.random.Generator) -> Floats:
    return np.roll(values, 1, axis=-1)


def shifted(by: float) -> Callable[[Floats, np.random.Generator], Floats]:
    return lambda values, _: values + by


def scaled(by: float) -> Callable[[Floats, np.random.Generator], Floats]:
    return lambda values, _: values * by


def noisy(deviation: float) -> Callable[[Floats, np.random.Generator], Floats]:
    return lambda values, random: values + random.normal(0.0, deviation, values.shape)
