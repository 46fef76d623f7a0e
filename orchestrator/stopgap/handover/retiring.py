"""The end of a legacy model: once nobody asks for it its sandbox goes, and its name stays with its successor."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from stopgap.deployment import take_down
from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError, FrontError
from stopgap.front.traffic import traffic
from stopgap.handover.archive import Retirement, Written, write_retirement
from stopgap.handover.change import change, locked, record_of, require_record
from stopgap.handover.fitness import admin_of, check_up
from stopgap.legacy_requests import note
from stopgap.person import current_person
from stopgap.progress import Progress
from stopgap.quiet import LegacyTraffic
from stopgap.records import Record, Records
from stopgap.stages import HandOver, Stage, moved
from stopgap.store import Deployment, Store
from stopgap.sunset import counted, utc_now
from stopgap.takeovers import takeover_of

__all__ = ["AFTER_DAYS", "check_may_be_retired", "retire"]

AFTER_DAYS = 7
LOOK_EVERY_S = 0.1

Say = Callable[[str], None]


def retire(
    name: str,
    engines: Engines,
    store: Store,
    say: Say,
    progress: Progress,
    *,
    after_days: float = AFTER_DAYS,
    forced: str = "",
) -> Written:
    """
    Args:
        after_days: So long must nobody have asked for the legacy model.
        forced: Why it is to be all the same; empty where it is not.

    Returns:
        Where the record of it is.

    Raises:
        DeploymentError: It is not promoted, its successor is not up, or it is still asked for.
        FrontError: The front did not take it up.
    """
    record, legacy, candidate = those_of(name, store)
    why = forced or f"{after_days:g} days without a request were to have passed"
    with locked(store, legacy.name, candidate.name):
        noted = checked(record, candidate, store, after_days, forced)
        if record.stage is Stage.PROMOTED:
            progress("taking the routes away", None)
            record = change(legacy, engines, store, lambda found: retired(found, why)).after
        made_of = what_it_was(name, store)
        found = write_retirement(Retirement(record, legacy, candidate, made_of, noted, utc_now()), store)
        wait_for_those_under_way(legacy, store, progress)
        progress(f"stopping {name}", None)
        take_down(legacy, engines, store, say)
        return found


def check_may_be_retired(name: str, store: Store, *, after_days: float = AFTER_DAYS, forced: str = "") -> None:
    """What `retire` would refuse, before anything that belongs to the model ends.

    Raises:
        DeploymentError: It is refused.
        FrontError: The front does not say whether it is asked for.
    """
    record, _, candidate = those_of(name, store)
    checked(record, candidate, store, after_days, forced)


def those_of(name: str, store: Store) -> tuple[HandOver, Deployment, Deployment]:
    """The record, who leaves, and who stays."""
    record = require_record(name, store)
    if store.find(name) is None:
        raise DeploymentError(f"{name} is retired already.", f"Its record is in {store.folder / 'retirements'}.")
    legacy = store.deployment(name)
    candidate = store.deployment(record.candidate.name) if record.candidate else None
    if candidate is None or record_of(legacy, store).stage not in (Stage.PROMOTED, Stage.RETIRED):
        raise DeploymentError(
            f"{name} is in the stage {record.stage.value}: nobody has taken its place.",
            f"Let its successor do so first: stopgap promote {name}. To stop it for good: stopgap stop {name}",
        )
    check_answers_to_nobody_elses(legacy, store)
    return record, legacy, candidate


def check_answers_to_nobody_elses(legacy: Deployment, store: Store) -> None:
    """
    Raises:
        DeploymentError: The name of a model that was retired before is its own to answer.
    """
    for earlier in store.hand_overs():
        taken_over = takeover_of(earlier, {legacy.name: legacy}) if earlier.stage is Stage.RETIRED else None
        if taken_over is not None:
            raise DeploymentError(
                f"{earlier.name} was retired before, and {legacy.name} answers to its name: then nobody would.",
                f"Let it stand until nobody asks for {earlier.name} any more, then give that name up: "
                f"stopgap stop {earlier.name}",
            )


def checked(
    record: HandOver, candidate: Deployment, store: Store, after_days: float, forced: str
) -> LegacyTraffic | None:
    """What was asked of it of late; None where nobody knows, and it is forced."""
    check_up(candidate, store)
    noted = noted_now(record, store, forced=bool(forced))
    if not forced and record.stage is Stage.PROMOTED:  # a retirement that was killed is brought to its end
        check_quiet(record.name, noted, after_days, utc_now())
    return noted


def retired(record: HandOver, reason: str) -> HandOver:
    return moved(record, Stage.RETIRED, now=utc_now(), by=current_person(), reason=reason)


def noted_now(record: HandOver, store: Store, *, forced: bool) -> LegacyTraffic | None:
    """What was asked of it; None where nobody can know, which force helps over."""
    try:
        return note(record, store, utc_now())
    except FrontError:
        if forced:
            return store.legacy_traffic(record.name)
        raise


def check_quiet(name: str, noted: LegacyTraffic | None, after_days: float, now: datetime) -> None:
    """
    Raises:
        DeploymentError: Somebody has asked for it, or might have.
    """
    if noted is None:
        raise DeploymentError(f"Nobody knows whether {name} is still asked for.", f"Look again: stopgap status {name}")
    quiet = now - noted.quiet_since
    if quiet < timedelta(days=after_days):
        by_then = noted.quiet_since + timedelta(days=after_days)
        raise DeploymentError(
            f"{name} must be quiet for {after_days:g} days first, and has been since "
            f"{noted.quiet_since:%Y-%m-%d %H:%M} UTC, for {quiet.total_seconds() / 86400:.1f} days. Since the "
            f"promotion it was asked {counted_requests(noted.asked)} for its own version.",
            f"If it stays quiet: after {by_then:%Y-%m-%d %H:%M} UTC. Who asks names version in model_spec, or "
            f"/versions/ in the path.\nIf it must be now, say why: stopgap retire {name} --force --reason TEXT",
        )


def counted_requests(number: int) -> str:
    return counted(number).replace("day", "time") if number else "nothing"


def what_it_was(name: str, store: Store) -> Record | None:
    try:
        return Records(store.folder).get(name)
    except DeploymentError:
        return None


def wait_for_those_under_way(legacy: Deployment, store: Store, progress: Progress) -> None:
    """One longest deadline at most: whoever was with the legacy model when the routes went is answered by it."""
    admin, name = admin_of(legacy, store), legacy.name
    deadline = time.monotonic() + legacy.timeouts.run_s
    while time.monotonic() < deadline:
        try:
            seen = traffic(admin, [name])[name]
        except FrontError:
            return
        if not seen.in_flight and not seen.waiting:
            return
        progress(f"waiting for {seen.in_flight + seen.waiting} requests under way", None)
        time.sleep(LOOK_EVERY_S)
