"""The date by which a sandbox must be gone: read, defaulted and counted down; knows nothing of deployments."""

from __future__ import annotations

from datetime import date, timedelta

from stopgap.errors import DeploymentError

__all__ = ["DEFAULT_DAYS", "countdown", "days_left", "default_sunset", "parse_sunset"]

DEFAULT_DAYS = 90


def default_sunset(today: date) -> date:
    return today + timedelta(days=DEFAULT_DAYS)


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
    if until < today:
        raise DeploymentError(
            f"{until} has passed: today is {today}.",
            f"Choose a day that is still to come, for example {default_sunset(today)}.",
        )
    return until


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


def counted(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"
