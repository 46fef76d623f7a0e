"""What is known of a shadow at this moment: what its observer has written down, what the front has counted since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Optional

from stopgap import shadows
from stopgap.errors import ShadowError
from stopgap.observer.accounts import totals_now
from stopgap.observer.counting import Totals, warnings
from stopgap.observer.course import Reading
from stopgap.observer.results import Experiment, Results
from stopgap.observer.written import reading
from stopgap.shadows import RESULTS, SHADOWS, Shadow, folder_of, is_observed
from stopgap.stages import Model
from stopgap.store import Store

__all__ = ["Report", "report", "result_now"]

INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Report:
    """One shadow.

    Attributes:
        shadow: What is wanted; None where it was ended, and only what was found is left.
        observed: Whether its observer lives.
        experiment: The last one; None before there is any.
        totals: Counts since that began, with what the front has counted up to now.
        warnings: What a person has to know, the worst first.
        course: How the result came about, by the place of each condition.
    """

    name: str
    shadow: Optional[Shadow]  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    observed: bool
    experiment: Optional[Experiment]  # noqa: UP045
    totals: Totals
    warnings: tuple[str, ...]
    course: Mapping[int, Sequence[Reading]] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """PASS, FAIL or INCONCLUSIVE."""
        return str(self.result.get("outcome", INCONCLUSIVE))

    @property
    def result(self) -> Mapping[str, Any]:
        """As `comparison.result` writes it; empty before there is one."""
        return (self.experiment and self.experiment.result) or {}

    def as_json(self) -> dict[str, Any]:
        """For scripts; the result's own fields are those of `stopgap compare --json`."""
        return {
            **self.result,
            "outcome": self.outcome,
            "shadow": None if self.shadow is None else as_object(self.shadow),
            "observer": self.observed,
            "experiment": None if self.experiment is None else about(self.experiment),
            "counts": self.totals.as_json(),
            "warnings": list(self.warnings),
        }


def report(name: str, store: Store) -> Report:
    """
    Raises:
        ShadowError: There is no shadow of that name, and there was none; or what there is of it cannot be read.
    """
    with reading(SHADOWS, name):
        return read(name, store)


def read(name: str, store: Store) -> Report:
    shadow = shadows.find(name, store)
    experiment, course = newest(name, store)
    if shadow is None and experiment is None:
        raise ShadowError(
            f"There is no shadow of {name}.", f"Begin one: stopgap shadow {name} --candidate CANDIDATE --mode retrained"
        )
    observed = shadow is not None and is_observed(name, store)
    totals = totals_now(experiment.counts if experiment else {}, shadow, store)
    told = warnings(totals)
    if shadow is not None and not observed:
        told.insert(
            0,
            f"NOBODY OBSERVES: the observer of {name} has died. Users notice nothing, and nothing is compared. "
            f"Bring it back: stopgap resume {name}",
        )
    return Report(name, shadow, observed, experiment, totals, tuple(told), course)


def result_now(legacy: Model, candidate: Model, store: Store) -> Mapping[str, Any]:
    """What a shadow that goes on has found by now of just these two, as `comparison.result` writes it; else empty."""
    with suppress(ShadowError), reading(SHADOWS, legacy.name):
        shadow = shadows.find(legacy.name, store)
        if shadow is None or shadow.candidate != candidate.name or not is_observed(legacy.name, store):
            return {}
        experiment, _ = newest(legacy.name, store)
        if experiment is not None and experiment.result is not None:
            pinned = [experiment.told[which]["digest"] for which in ("legacy", "candidate")]
            return experiment.result if pinned == [legacy.digest, candidate.digest] else {}
    return {}


def newest(name: str, store: Store) -> tuple[Experiment | None, Mapping[int, Sequence[Reading]]]:
    """The last experiment, and how its result came about."""
    file = folder_of(name, store) / RESULTS
    if not file.exists():
        return None, {}
    with closing(Results(file, make=False)) as results:
        found = results.newest()
        return found, results.course(found.id) if found else {}


def as_object(shadow: Shadow) -> dict[str, Any]:
    return {
        "name": shadow.name,
        "candidate": shadow.candidate,
        "typed": shadow.typed,
        "sample": shadow.per_million / 1e6,
        "ready": shadow.ready,
        "served_for_it": shadow.served_for_it,
        "in_flight": shadow.in_flight,
        "deadline_s": shadow.deadline_s,
    }


def about(experiment: Experiment) -> dict[str, Any]:
    return {
        **experiment.told,
        "number": experiment.id,
        "bound": experiment.bound,
        "begun_s": experiment.begun_s,
        "ended_s": experiment.ended_s,
        "judged_s": experiment.result_s,
    }
