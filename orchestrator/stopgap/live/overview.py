"""From what was seen to what the page shows: what needs somebody first, then every model. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from shlex import quote

from stopgap.conditions import Condition
from stopgap.live.cards import MOST_TOLD, card_of, rate_told
from stopgap.live.gathering import ModelSeen, Remains, Snapshot
from stopgap.live.views import Alert, Fact, Overview
from stopgap.observer.report import Report
from stopgap.report.harmless import harmless
from stopgap.report.numbers import Telling, counted
from stopgap.stages import Stage
from stopgap.sunset import SOON_DAYS, days_left, moving

__all__ = ["overview_of"]

LONGEST = 600  # of any text
# Of a model's name, by its condition: what is wrong, and what to type.
TROUBLES = {
    Condition.DOWN: ("fail", "is down.", "stopgap logs {0}"),
    Condition.LOST: ("fail", "was lost; the next command brings it back.", "stopgap status"),
    Condition.BACKING_OFF: ("fail", "turns its callers away for a while.", "stopgap incidents {0}"),
    Condition.RESTARTING: ("warning", "is being restarted.", "stopgap logs {0}"),
    Condition.UNKNOWN: ("warning", "cannot be looked at.", "stopgap doctor"),
}


def overview_of(snapshot: Snapshot) -> Overview:
    """Harmless, whatever is in it."""
    today = snapshot.at.date()
    alerts = [alert for seen in snapshot.models for alert in alerts_of(seen, today)]
    alerts += [
        Alert("fail" if each.condition is Condition.DAMAGED else "warning", each.name, each.problem, each.remedy)
        for each in snapshot.remains
        if each.problem
    ]
    alerts += [Alert("fail", "The state folder", snapshot.problem)] if snapshot.problem else []
    alerts.sort(key=lambda each: each.tone != "fail")
    tone = next((tone for tone in ("fail", "warning") if any(each.tone == tone for each in alerts)), "pass")
    empty = not (snapshot.models or snapshot.remains or snapshot.problem)
    return harmless(
        Overview(
            tone="shown" if empty else tone,
            headline=headline_of(snapshot, alerts),
            at=f"{snapshot.at:%H:%M:%S} UTC",
            moment=snapshot.at.isoformat(timespec="seconds"),
            folder=snapshot.folder,
            facts=[] if empty else facts_of(snapshot.models, today),
            alerts=alerts,
            cards=[card_of(seen, snapshot.at) for seen in sorted(snapshot.models, key=order_of)],
            retired=[retired_of(each) for each in snapshot.remains if each.record],
            empty=empty,
        ),
        LONGEST,
    )


def retired_of(gone: Remains) -> Alert:
    """No alarm: a name whose model is gone, as it was to be."""
    candidate = gone.record.candidate if gone.record else None
    told = f"is answered by {candidate.name}. If nobody asks for it any more:" if candidate else ""
    return Alert("shown", gone.name, told, gone.remedy)


def order_of(seen: ModelSeen) -> tuple[bool, str]:
    """What is being handed over first, else by name: nothing moves because of a number."""
    under_way = seen.shadow is not None or (seen.record is not None and seen.record.stage is not Stage.LEGACY)
    return not under_way, seen.name


def headline_of(snapshot: Snapshot, alerts: Sequence[Alert]) -> str:
    wrong = [each for each in alerts if each.tone == "fail"]
    if len(wrong) == 1:
        return f"{wrong[0].who} needs you"
    if wrong:
        return f"{len(wrong)} things need you"
    if not snapshot.models:
        return "Nothing is being served"
    served = [seen for seen in snapshot.models if seen.health and seen.health.condition is Condition.SERVING]
    if len(served) < len(snapshot.models):
        return f"{len(served)} of {counted(len(snapshot.models), 'model')} {'is' if len(served) == 1 else 'are'} served"
    name = snapshot.models[0].name
    return f"{name} is served" if len(served) == 1 else f"All {len(served)} models are served"


def facts_of(models: Sequence[ModelSeen], today: date) -> list[Fact]:
    """Of all models together."""
    served = sum(1 for seen in models if seen.health and seen.health.condition is Condition.SERVING)
    known = [seen.flow.rate for seen in models if seen.flow.rate is not None]
    failing = [(seen.flow.rate or 0.0) * (seen.flow.failed or 0.0) for seen in models]
    rate = sum(known)
    found = [
        Fact("Serving", f"{served} of {len(models)}", "models" if len(models) > 1 else "model"),
        Fact("Requests", rate_told(rate) if known else "–", "a second, of the last half minute"),
        Fact("Errors", Telling("share").told(sum(failing) / rate) if rate else "–", "of these"),
    ]
    if models:
        first = min(models, key=lambda seen: seen.deployment.until)
        days = days_left(first.deployment.until, today)
        told = counted(days, "day") if days >= 0 else f"{counted(-days, 'day')} over"
        found.append(Fact("Next sunset", told, first.name, tone_of_days(days)))
    return found


def tone_of_days(days: int) -> str:
    return "fail" if days < 0 else "warning" if days <= SOON_DAYS else ""


def alerts_of(seen: ModelSeen, today: date) -> list[Alert]:
    """Of one model."""
    late = [f"has a {who} that has not answered for {late_s:.0f} s." for who, late_s in seen.late.items()]
    return [
        *alerts_of_workers(seen),
        *alerts_of_sunset(seen.name, seen.deployment.until, today),
        *(alerts_of_shadow(seen.name, seen.shadow) if seen.shadow else ()),
        *alerts_of_recording(seen),
        *alerts_of_ledger(seen),
        *(Alert("warning", seen.name, told) for told in late),
    ]


def alerts_of_workers(seen: ModelSeen) -> list[Alert]:
    found = []
    if seen.health and seen.health.condition in TROUBLES:
        tone, told, command = TROUBLES[seen.health.condition]
        told = " ".join(filter(None, (told, seen.health.detail)))
        found.append(Alert(tone, seen.name, told, command.format(quote(seen.name))))
    if seen.incidents and seen.incidents.quarantined:
        away = counted(min(MOST_TOLD, seen.incidents.quarantined), "request")
        told = f"turns {away} away: each of them has ended a worker."
        found.append(Alert("warning", seen.name, told, f"stopgap incidents {quote(seen.name)}"))
    return found


def alerts_of_sunset(name: str, until: date, today: date) -> list[Alert]:
    days = days_left(until, today)
    if days < 0:
        return [Alert("fail", name, f"is OVERDUE: it should have been gone since {until}.", moving(quote(name)))]
    if days > SOON_DAYS:
        return []
    left = f"{counted(days, 'day')} left" if days else "that is today"
    return [Alert("warning", name, f"must be gone by {until}: {left}.", moving(quote(name)))]


def alerts_of_shadow(name: str, shadow: Report) -> list[Alert]:
    found = []
    if shadow.shadow is not None and not shadow.observed:
        told = "has a shadow, and nobody observes: its observer has died."
        found.append(Alert("fail", name, told, f"stopgap resume {quote(name)}"))
    if shadow.shadow is not None and shadow.totals.dropped:
        dropped = counted(sum(shadow.totals.dropped.values()), "request")
        told = f"has a shadow that has lost {dropped}: they count against the candidate."
        found.append(Alert("warning", name, told, f"stopgap shadow {quote(name)} --show"))
    return found


def alerts_of_recording(seen: ModelSeen) -> list[Alert]:
    if seen.recording is None:
        return []
    tone, command = "warning" if seen.recording.records else "fail", f"stopgap record {quote(seen.name)} --show"
    return [Alert(tone, seen.name, f"has a recording. {told}", command) for told in seen.recording.warnings]


def alerts_of_ledger(seen: ModelSeen) -> list[Alert]:
    if seen.ledger is None:
        return []
    wrong = seen.ledger.known.ratio.mismatch or not seen.ledger.kept
    tone, command = "fail" if wrong else "warning", f"stopgap split {quote(seen.name)} --show"
    return [Alert(tone, seen.name, f"has its callers split. {told}", command) for told in seen.ledger.warnings]
