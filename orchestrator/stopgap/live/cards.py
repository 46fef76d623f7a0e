"""From what was seen of one model to its card. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime

from stopgap.conditions import Condition
from stopgap.front.arms import Arm
from stopgap.incidents import WorkersState
from stopgap.live.gathering import CountedArm, ModelSeen
from stopgap.live.history import BIN_S, BINS, Flow
from stopgap.live.shadow_views import shadow_view
from stopgap.live.views import Card, Fact, IncidentView, StageView, SunsetView, Tile
from stopgap.quiet import LegacyTraffic
from stopgap.report.layout import Cell, Column, Table
from stopgap.report.numbers import Telling, counted
from stopgap.stages import HandOver, Stage, percent
from stopgap.sunset import SOON_DAYS, days_left

__all__ = ["MOST_TOLD", "card_of", "rate_told"]

TONES = {
    Condition.SERVING: "pass",
    Condition.LOADING: "warning",
    Condition.BACKING_OFF: "fail",
    Condition.RESTARTING: "warning",
    Condition.STOPPING: "warning",
    Condition.LOST: "fail",
    Condition.DOWN: "fail",
    Condition.UNKNOWN: "warning",
}
NOT_YET, NO_ANSWER = "not known yet", "no answer"
KINDS = {
    "died": "a worker died",
    "quarantined": "a request ended its worker alone",
    "state_lost": "a worker died with the model’s state",
    "backing_off": "too many workers died",
}
MOST_INCIDENTS = 8
MOST_TOLD = 10**9
LEAST_SHOWN = 24  # spans, so that a picture begins with two minutes


def card_of(seen: ModelSeen, now: datetime) -> Card:
    """All that is known of it; not yet harmless."""
    deployment, health = seen.deployment, seen.health
    return Card(
        identity=f"model-{hashlib.sha256(seen.name.encode('utf-8', 'replace')).hexdigest()[:10]}",
        name=seen.name,
        tone=TONES.get(health.condition, "warning") if health else "shown",
        condition=health.condition.value if health else NO_ANSWER if seen.late else NOT_YET,
        detail=health.detail if health else "",
        bundle=bundle_told(deployment.bundle),
        facts=facts_of(seen),
        stages=stages_of(seen),
        part=part_of(seen),
        sunset=sunset_of(seen, now),
        tiles=tiles_of(seen),
        shadow=shadow_view(seen.shadow, now.timestamp()) if seen.shadow else None,
        arms=arms_table(seen.arms) if seen.arms else None,
        arms_told=arms_told(seen.record) if seen.record else "",
        still_asked=still_asked(seen.noted) if seen.noted else "",
        incidents=incidents_of(seen.incidents) if seen.incidents else None,
        notes=[*seen.problems, *(f"No answer from its {who} for {late_s:.0f} s." for who, late_s in seen.late.items())],
    )


def bundle_told(bundle: str) -> str:
    """`tf-1.15.5` is TensorFlow 1.15.5; another name stays."""
    return f"TensorFlow {bundle[3:]}" if bundle.startswith("tf-") else bundle


def facts_of(seen: ModelSeen) -> list[Fact]:
    deployment, health = seen.deployment, seen.health
    limits_by = health.limits_by if health else deployment.limits_by
    found = [
        Fact("gRPC", deployment.address),
        Fact("REST", deployment.front.rest),
        Fact("Version", str(deployment.version)),
        Fact("Isolation", f"{deployment.engine} / {deployment.isolation}", limits_by),
        Fact("Workers", workers_told(seen), "answer" if seen.workers else ""),
    ]
    if health and health.memory_mib is not None:
        found.append(Fact("Memory", f"{health.memory_mib:,.0f} MiB", f"of {deployment.limits.memory_mib:,}"))
    if seen.recording:
        totals = seen.recording.totals
        found.append(Fact("Recorded", f"{totals.joined:,}", f"{sum(totals.dropped.values()):,} dropped"))
    if seen.ledger:
        known = seen.ledger.known
        found.append(Fact("Callers", f"{known.candidate.units:,}", f"the candidate’s, {known.legacy.units:,} its own"))
    return found


def workers_told(seen: ModelSeen) -> str:
    return f"{seen.workers.healthy} of {seen.workers.workers}" if seen.workers else str(seen.deployment.workers)


def stages_of(seen: ModelSeen) -> list[StageView]:
    """None of a model that is somebody else's candidate, and nobody's legacy model."""
    if seen.record is None and (seen.candidate_in is not None or seen.asked_beside):
        return []
    stage = stage_of(seen)
    order = list(Stage)
    passed = order.index(stage)
    gone_by = {Stage.LEGACY, *(step.to for step in (seen.record.history if seen.record else ()))}
    gone_by |= {Stage.SHADOW} if seen.shadow else set()  # which is in no record
    return [
        StageView(
            each.value,
            "now" if each is stage else "next" if place > passed else "done" if each in gone_by else "left out",
            share_of(seen.record) if each is stage else "",
        )
        for place, each in enumerate(order)
    ]


def stage_of(seen: ModelSeen) -> Stage:
    """A shadow is a stage of its own only where nothing further is reached."""
    recorded = seen.record.stage if seen.record else Stage.LEGACY
    shadowed = seen.shadow is not None and seen.shadow.shadow is not None
    return Stage.SHADOW if shadowed and recorded is Stage.LEGACY else recorded


def share_of(record: HandOver | None) -> str:
    return percent(record.share) if record and record.share else ""


def part_of(seen: ModelSeen) -> str:
    parts = []
    if seen.candidate_in is not None and seen.candidate_in.candidate is not None:
        parts.append(f"candidate of {seen.candidate_in.name}, {seen.candidate_in.stage.value}")
    if seen.asked_beside:
        parts.append(f"asked beside {seen.asked_beside}, as its shadow")
    if seen.record is not None and seen.record.candidate is not None:
        parts.append(f"its candidate is {seen.record.candidate.name}")
    if seen.deployment.shared:
        parts.append("loaded by programs; it ends with the last of them")
    return "; ".join(parts)


def sunset_of(seen: ModelSeen, now: datetime) -> SunsetView:
    sunset = seen.deployment.sunset
    days = days_left(sunset.until, now.date())
    all_days = max(1, days_left(sunset.until, sunset.first_served.date()))
    passed = min(100, max(0, round(100 * (1 - days / all_days))))
    moved = f"moved {counted(len(sunset.moves), 'time')}" if sunset.moves else ""
    if days < 0:
        return SunsetView("fail", f"{-days:,}", f"day{'s' if days < -1 else ''} overdue", str(sunset.until), 100, moved)
    tone = "warning" if days <= SOON_DAYS else ""
    if days == 0:
        return SunsetView("warning", "0", "days left: it is today", str(sunset.until), 100, moved)
    return SunsetView(tone, f"{days:,}", f"day{'s' if days > 1 else ''} left", str(sunset.until), passed, moved)


def rate_told(rate: float) -> str:
    """As many digits as matter."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 1 or not rate else f"{rate:.2f}"


def tiles_of(seen: ModelSeen) -> list[Tile]:
    flow = seen.flow
    if flow.rate is None:
        return []
    rates, failures, means = (values[begin_of(flow) :] for values in (flow.rates, flow.failures, flow.means))
    minutes = f"{len(rates) * BIN_S / 60:.0f} minutes"
    share, seconds = Telling("share"), Telling("seconds")
    return [
        Tile(
            "Requests",
            f"{rate_told(flow.rate)} /s",
            f"{seen.traffic.in_flight} in flight, {seen.traffic.waiting} waiting" if seen.traffic else "",
            rates,
            "evidence",
            f"At most {rate_told(most(rates))} a second in the last {minutes}.",
        ),
        Tile(
            "Errors",
            share.told(flow.failed),
            f"{rate_told((flow.failed or 0.0) * flow.rate)} /s" if flow.rate else "nothing was asked",
            failures,
            "fail",
            f"At most {rate_told(most(failures))} a second in the last {minutes}.",
        ),
        Tile(
            "Mean latency",
            seconds.told(flow.mean_s if flow.rate else None),
            bounds_told(flow) if flow.rate else "",
            means,
            "evidence",
            f"At most {seconds.told(most(means))} in the last {minutes}.",
        ),
    ]


def begin_of(flow: Flow) -> int:
    """From where a picture goes: nothing is shown of the time before anybody looked."""
    known = next((place for place, value in enumerate(flow.rates) if not math.isnan(value)), BINS)
    return min(known, BINS - LEAST_SHOWN)


def most(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=0.0)


def bounds_told(flow: Flow) -> str:
    """Half and nearly all, as far as the front's bins tell."""
    if flow.half_s is None or flow.nearly_all_s is None:
        return ""
    told = Telling("seconds").told
    return f"half within {told(flow.half_s)}, 99 % within {told(flow.nearly_all_s)}"


def arms_told(record: HandOver) -> str:
    candidate = record.candidate.name if record.candidate else ""
    if record.stage is Stage.SPLIT:
        return f"{percent(record.share)} of its callers, by {record.key}, are answered by {candidate}"
    if record.stage in (Stage.PROMOTED, Stage.RETIRED):
        return f"All who ask for {record.name} are answered by {candidate}"
    return ""


def still_asked(noted: LegacyTraffic) -> str:
    """What its retirement waits for."""
    return (
        f"By its own version it was asked {counted(noted.asked, 'time')} since then, "
        f"the last time before {noted.quiet_since:%Y-%m-%d %H:%M} UTC."
    )


def arms_table(found: Sequence[CountedArm]) -> Table:
    columns = (
        Column(""),
        Column("Answered by"),
        Column("Asked", number=True),
        Column("Failed", number=True),
        Column("Mean", number=True),
        Column("Half within", number=True),
        Column("99 % within", number=True),
    )
    return Table("Since the change, or since the front was started", columns, [arm_row(each) for each in found])


def arm_row(counted_arm: CountedArm) -> tuple[Cell, ...]:
    arm, seconds = counted_arm.arm, Telling("seconds")
    times = arm.durations
    side = "candidate" if counted_arm.who in ("candidate’s callers", "all callers") else "legacy"
    failed = Telling("share").told(arm.failed / arm.judged) if arm.judged else "–"
    return (
        Cell(counted_arm.who),
        Cell(arm.model, side),
        Cell(f"{arm.asked:,}"),
        Cell(failed, "warning" if arm.failed else ""),
        Cell(seconds.told(times.sum_s / times.count if times.count else None)),
        *(Cell(seconds.told(within(arm, share))) for share in (0.5, 0.99)),
    )


def within(arm: Arm, share: float) -> float | None:
    times = arm.durations
    if not times.count:
        return None
    bounds = sorted(times.up_to_s.items())
    return next((bound for bound, kept in bounds if kept >= share * times.count), float("inf"))


def incidents_of(state: WorkersState) -> IncidentView:
    """The newest first; hostile all of it: a number may have thousands of digits."""
    deaths = min(MOST_TOLD, sum(state.counts.get(kind, 0) for kind in ("died", "quarantined", "state_lost")))
    parts = [counted(deaths, "death of a worker", "deaths of workers")] if deaths else ["No worker has died"]
    if state.quarantined:
        parts.append(f"{counted(min(MOST_TOLD, state.quarantined), 'request')} in quarantine")
    if state.backing_off_s > 0:
        parts.append(f"not run for {state.backing_off_s:.0f} s more")
    tone = "fail" if state.backing_off_s > 0 else "warning" if deaths or state.quarantined else ""
    newest = state.incidents[-MOST_INCIDENTS:][::-1]
    columns = (Column("When, UTC"), Column("What"), Column("Worker"), Column("Cause"), Column("It said last"))
    rows = [
        (
            Cell(f"{each.at:%Y-%m-%d %H:%M:%S}"),
            Cell(KINDS.get(each.kind, each.kind)),
            Cell(each.worker),
            Cell(each.cause),
            Cell(each.lines[-1] if each.lines else "–", "mono"),
        )
        for each in newest
    ]
    table = Table(f"The newest {len(rows)}", columns, rows, folded=True) if rows else None
    return IncidentView(", ".join(parts), tone, table)
