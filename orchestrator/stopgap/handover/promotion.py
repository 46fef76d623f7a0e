"""A candidate takes a legacy model's place: with evidence, measured, watched for a while, taken back if need be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError
from stopgap.front.traffic import traffic
from stopgap.handover.agreeing import Agreeing
from stopgap.handover.archive import keep_evidence
from stopgap.handover.capacity import asked_at, measured_peak, requests_at_hand
from stopgap.handover.change import Change, change, locked, named, record_of, sent_back
from stopgap.handover.evidence import Evidence, check_evidence, in_words
from stopgap.handover.fitness import admin_of, check_pair, check_up
from stopgap.handover.guard import Guard, Watched, baseline_of, watch
from stopgap.handover.splitting import check_words, missing
from stopgap.legacy_requests import begin_noting
from stopgap.person import current_person
from stopgap.progress import Progress
from stopgap.stages import HandOver, Model, Stage, moved
from stopgap.store import Deployment, Store
from stopgap.sunset import utc_now

__all__ = ["Promoted", "Promotion", "promote"]

LOCK_PATIENCE_S = 10.0

Say = Callable[[str], None]
Shadowed = Callable[[Model, Model], Mapping[str, Any]]


@dataclass(frozen=True)
class Promotion:
    """What a person wants.

    Attributes:
        candidate: Empty for the one that the hand-over has.
        evidence: None where it is forced.
        reason: Why it is forced.
        peak_per_s: What the legacy model is asked at most, in requests a second; None: as the front counts.
        requests: A file to ask the candidate with at that rate; None for the model's own warm-up requests.
        watch_s: How long it is watched afterwards.
    """

    candidate: str
    evidence: Evidence | None
    reason: str
    peak_per_s: float | None
    requests: Path | None
    watch_s: float


@dataclass(frozen=True)
class Promoted:
    """What came of it.

    Attributes:
        capacity: What is known of how much the candidate carries, in a sentence.
        watched: None where nobody watched.
        back: The way back, where the guard has gone it.
    """

    change: Change
    capacity: str
    watched: Watched | None
    back: Change | None


def promote(
    name: str, wanted: Promotion, shadow: Shadowed, engines: Engines, store: Store, *, say: Say, progress: Progress
) -> Promoted:
    """
    Args:
        shadow: What a shadow of just these two models has found by now, the legacy one first.

    Raises:
        DeploymentError: It cannot be, or must not.
        FrontError: The front did not take it up.
    """
    legacy = store.deployment(name)
    before = record_of(legacy, store)
    candidate = store.deployment(wanted.candidate or (before.candidate.name if before.candidate else missing(name)))
    check_pair(legacy, candidate)
    with locked(store, legacy.name, candidate.name):
        prepared(before, wanted, candidate)  # what is refused is refused before anything is measured
        if wanted.evidence:
            check_evidence(wanted.evidence, legacy, candidate)
            say(f"the evidence: {in_words(wanted.evidence.outcome, wanted.evidence.scope, wanted.evidence.units)}")
        check_up(candidate, store)
        check_words(legacy, candidate, force=wanted.evidence is None)
        capacity = measured(legacy, candidate, wanted, store, progress)
        say(capacity)
        if wanted.evidence:
            keep_evidence(wanted.evidence, store)
        admin = admin_of(legacy, store)
        counted = traffic(admin, [legacy.name, candidate.name])
        agreeing = Agreeing(lambda: shadow(named(legacy), named(candidate)))
        guard = Guard(baseline_of(counted[legacy.name]), counted[candidate.name], agreeing)
        progress("swapping the routes", None)

        def swapped(record: HandOver) -> HandOver:
            after = prepared(record, wanted, candidate)
            begin_noting(after, store, utc_now())
            return after

        done = change(legacy, engines, store, swapped)
    if not wanted.watch_s:
        return Promoted(done, capacity, None, None)
    say(f"{name} is answered by {candidate.name}; watching for {wanted.watch_s:g} s")  # and anybody may roll it back
    seen = watch(admin, candidate.name, guard, wanted.watch_s, progress)
    if not seen.trouble:
        return Promoted(done, capacity, seen, None)
    progress("going back", None)
    return Promoted(done, capacity, seen, taken_back(legacy, done.after, seen.trouble, engines, store))


def taken_back(legacy: Deployment, promoted: HandOver, trouble: str, engines: Engines, store: Store) -> Change | None:
    """None where somebody has done something about it already."""
    with locked(store, legacy.name, patience_s=LOCK_PATIENCE_S):
        if record_of(legacy, store) != promoted:
            return None
        return change(legacy, engines, store, lambda record: sent_back(record, f"the guard: {trouble}", store))


def prepared(record: HandOver, wanted: Promotion, candidate: Deployment) -> HandOver:
    return moved(
        record,
        Stage.PROMOTED,
        now=utc_now(),
        by=current_person(),
        candidate=named(candidate),
        reason=wanted.reason,
        evidence=wanted.evidence.digest if wanted.evidence else "",
    )


def measured(legacy: Deployment, candidate: Deployment, wanted: Promotion, store: Store, progress: Progress) -> str:
    """What is known of how much the candidate carries, in a sentence.

    Raises:
        DeploymentError: It does not carry enough.
    """
    if wanted.peak_per_s is None:
        peak = measured_peak(admin_of(legacy, store), legacy.name, progress)
        per_s, told = peak.per_s, f"{peak.per_s:.1f} requests a second, {peak.told}"
    else:
        per_s, told = wanted.peak_per_s, f"{wanted.peak_per_s:g} requests a second, as was said"
    requests = wanted.requests or requests_at_hand(legacy)
    if requests is None:
        return (
            f"Not measured: whether {candidate.name} carries the peak of {legacy.name} ({told}). There are no "
            "requests to ask it with: --requests FILE, of what stopgap compare takes as --data."
        )
    capacity = asked_at(candidate, per_s, requests, progress)
    if capacity.suffices:
        return f"Measured: {candidate.name} {capacity}. The peak of {legacy.name}: {told}."
    if wanted.evidence is None:
        return f"Too slow, and promoted all the same: {candidate.name} {capacity}. The peak of {legacy.name}: {told}."
    if not capacity.answered:
        raise DeploymentError(
            f"How much {candidate.name} carries could not be measured with {requests}: it {capacity}.",
            "Give requests that it answers, as stopgap compare takes them as --data: --requests FILE\n"
            "If it must be all the same, say why: --force --reason TEXT",
        )
    raise DeploymentError(
        f"{candidate.name} does not carry what {legacy.name} is asked ({told}): it {capacity}.",
        "Serve it with more workers or processors: --workers, --cpus.\n"
        "If it must be all the same, say why: --force --reason TEXT",
    )
