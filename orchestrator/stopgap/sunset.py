"""A model's last day: read, defaulted, agreed upon, moved and counted down. Days are UTC's; knows no deployments.

A date is a model's, not a name's: the first that was agreed upon holds for whoever serves the same model again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

from stopgap.errors import DeploymentError
from stopgap.person import Person

__all__ = [
    "DEFAULT_DAYS",
    "FARTHEST_DAYS",
    "LONGEST_REASON",
    "SOON_DAYS",
    "Move",
    "Sunset",
    "agreed",
    "countdown",
    "days_left",
    "default_sunset",
    "last_moment",
    "moved",
    "moving",
    "parse_sunset",
    "read",
    "utc_now",
    "utc_today",
    "warning",
    "way_out",
    "written",
]

DEFAULT_DAYS = 90
FARTHEST_DAYS = 730  # beyond which a first day needs a reason as well: a stopgap without an end is none
SOON_DAYS = 14
LONGEST_REASON = 500


@dataclass(frozen=True)
class Move:
    """One change of a date.

    Attributes:
        reason: A person's words; an earlier date needs none.
    """

    at: datetime
    was: date
    to: date
    reason: str
    by: Person


@dataclass(frozen=True)
class Sunset:
    """When a model must be gone, and how that came about.

    Attributes:
        digest: Of the model's files, by `model_contents`.
        first_served: When the date was agreed upon.
        moves: Oldest first.
    """

    digest: str
    first_served: datetime
    until: date
    moves: tuple[Move, ...] = ()


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def utc_today() -> date:
    return utc_now().date()


def default_sunset(today: date) -> date:
    return today + timedelta(days=DEFAULT_DAYS)


def last_moment(until: date) -> datetime:
    """The last second of that day."""
    return datetime.combine(until, time(23, 59, 59), timezone.utc)


def parse_sunset(text: str, today: date) -> date:
    """The date written in `text` as YYYY-MM-DD.

    Raises:
        DeploymentError: It is no such date, or it lies before `today`.
    """
    try:
        until = date.fromisoformat(text)
    except ValueError as error:
        raise DeploymentError(
            f"{text!r} is not a date.", f"Write it as YYYY-MM-DD, for example {default_sunset(today)}."
        ) from error
    check_to_come(until, today)
    return until


def check_to_come(until: date, today: date) -> None:
    if until < today:
        raise DeploymentError(
            f"{until} has passed: today is {today}.",
            f"Choose a day that is still to come, for example {default_sunset(today)}.",
        )


def agreed(
    recorded: Sunset | None, *, digest: str, asked: date | None, reason: str, now: datetime, by: Person
) -> Sunset:
    """The date of a model that is about to be served: the recorded one, moved where that was asked for.

    Args:
        recorded: What was agreed upon when it was first served, if it was.
        asked: None for what is recorded, or the default.

    Raises:
        DeploymentError: The date has passed, or a later one, or a first one that is far away, was asked for without a
            reason.
    """
    if recorded is None:
        return first(digest, asked or default_sunset(now.date()), reason, now=now, by=by)
    if asked is not None and asked != recorded.until:
        return moved(recorded, asked, reason, now=now, by=by)
    if days_left(recorded.until, now.date()) < 0:
        raise DeploymentError(
            f"This model should have been gone since {recorded.until}: what runs goes on, but nothing new is started.",
            "Move the date, and say why: stopgap serve … --until DATE --reason TEXT, "
            "or stopgap extend MODEL --until DATE --reason TEXT",
        )
    return recorded


def first(digest: str, until: date, reason: str, *, now: datetime, by: Person) -> Sunset:
    """One that is not further away than can be; a later one is a move from there, so that who wanted it and why stays.

    Raises:
        DeploymentError: The date has passed, or it is further away and no reason is given.
    """
    check_to_come(until, now.date())
    farthest = now.date() + timedelta(days=FARTHEST_DAYS)
    if until <= farthest:
        return Sunset(digest, now.replace(microsecond=0), until)
    if not reason.strip():
        raise DeploymentError(
            f"{until} is more than {FARTHEST_DAYS} days away: a stopgap without an end is none.",
            f"Choose a day up to {farthest}, or say why it must stay longer: --until {until} --reason TEXT",
        )
    return moved(Sunset(digest, now.replace(microsecond=0), farthest), until, reason, now=now, by=by)


def moved(recorded: Sunset, to: date, reason: str, *, now: datetime, by: Person) -> Sunset:
    """The same with another date.

    Raises:
        DeploymentError: It has passed; it is later, and no reason is given; or the reason is too long.
    """
    check_to_come(to, now.date())
    reason = reason.strip()
    if to > recorded.until and not reason:
        raise DeploymentError(
            f"This model was to be gone by {recorded.until}: that was agreed upon when it was first served, on "
            f"{recorded.first_served.date()}. {to} is later.",
            f"Say why it must stay: --until {to} --reason TEXT",
        )
    if len(reason) > LONGEST_REASON:
        raise DeploymentError(
            f"A reason of {len(reason)} characters is too long.", f"Say it in at most {LONGEST_REASON}."
        )
    if to == recorded.until:
        return recorded
    move = Move(now.replace(microsecond=0), recorded.until, to, reason, by)
    return replace(recorded, until=to, moves=(*recorded.moves, move))


def days_left(until: date, today: date) -> int:
    """Negative once the date has passed."""
    return (until - today).days


def countdown(until: date, today: date) -> str:
    days = days_left(until, today)
    if days < 0:
        return f"{until}, OVERDUE by {counted(-days)}"
    if days == 0:
        return f"{until}, TODAY"
    return f"{until}, {counted(days)} left"


def warning(name: str, until: date, today: date) -> str:
    """What must be said of a date that is near or has passed; empty while it is more than `SOON_DAYS` away."""
    days = days_left(until, today)
    if days > SOON_DAYS:
        return ""
    return (
        f"{name} should have been gone since {until}." if days < 0 else f"{name} must be gone by {until}: {left(days)}."
    )


def left(days: int) -> str:
    return f"{counted(days)} left" if days else "that is today"


def way_out(name: str) -> str:
    """What to do about it."""
    return f"Retire it: stopgap stop {name}. Or: {moving(name)}"


def moving(name: str) -> str:
    return f"stopgap extend {name} --until DATE --reason TEXT"


def counted(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"


def written(sunset: Sunset) -> dict[str, Any]:
    """As JSON can hold it."""
    return {
        **asdict(sunset),
        "first_served": sunset.first_served.isoformat(),
        "until": sunset.until.isoformat(),
        "moves": [
            {**asdict(move), "at": move.at.isoformat(), "was": move.was.isoformat(), "to": move.to.isoformat()}
            for move in sunset.moves
        ],
    }


def read(fields: dict[str, Any]) -> Sunset:
    """The reverse of `written`; raises what a damaged file makes it raise."""
    moves = tuple(
        Move(
            at=datetime.fromisoformat(move["at"]),
            was=date.fromisoformat(move["was"]),
            to=date.fromisoformat(move["to"]),
            reason=move["reason"],
            by=Person(**move["by"]),
        )
        for move in fields["moves"]
    )
    return Sunset(
        digest=fields["digest"],
        first_served=datetime.fromisoformat(fields["first_served"]),
        until=date.fromisoformat(fields["until"]),
        moves=moves,
    )
