"""What is typed on a command line and needs a check of its own: wrong is a usage error, told before all else."""

from __future__ import annotations

import re
from datetime import date

import click

from stopgap.errors import DeploymentError
from stopgap.settings import LONGEST_TIMEOUT_S, check_name, check_tag
from stopgap.stages import Key, parse_key, parse_share
from stopgap.sunset import LONGEST_REASON, parse_sunset, utc_today

__all__ = [
    "caller_key",
    "deployment_name",
    "deployment_names",
    "duration",
    "is_typed",
    "reason",
    "sample",
    "share",
    "sunset",
    "tags",
    "timeout",
]


DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([smh]?)")


def deployment_name(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """A name that a deployment may have."""
    try:
        return check_name(text)
    except DeploymentError as error:
        raise usage(error) from error


def deployment_names(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Several of them."""
    return tuple(deployment_name(context, parameter, text) for text in texts)


def sunset(_context: click.Context, _parameter: click.Parameter, text: str | None) -> date | None:
    """A day that is still to come, in UTC."""
    try:
        return None if text is None else parse_sunset(text, utc_today())
    except DeploymentError as error:
        raise usage(error) from error


def tags(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[str, ...]:
    """`serve,gpu` as a tuple."""
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise click.BadParameter(
            "At least one tag is needed; models that were written to be served have the tag serve."
        )
    try:
        return tuple(check_tag(word) for word in words)
    except DeploymentError as error:
        raise usage(error) from error


def timeout(_context: click.Context, _parameter: click.Parameter, seconds: float) -> float:
    """More than nothing and at most a day: so, neither NaN nor infinity."""
    if not 0 < seconds <= LONGEST_TIMEOUT_S:
        raise click.BadParameter(f"{seconds} s cannot be; choose more than 0 and at most {LONGEST_TIMEOUT_S}.")
    return seconds


def share(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """`10%`, in hundredths of a percent."""
    try:
        return None if text is None else parse_share(text)
    except DeploymentError as error:
        raise usage(error) from error


def sample(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    """`10%` of users' predictions, in millionths; a bare number could be a share or percent."""
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no share. Write 10%, say.") from error
    if not text.endswith("%"):
        raise click.BadParameter(f"{text!r} could be a share or percent. Write {value * 100:g}%, say.")
    if not 1e-6 <= value <= 1:
        raise click.BadParameter(f"{text} cannot be a sample: choose above 0 and up to 100%.")
    return round(value * 1e6)


def caller_key(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Key | None:
    """`header:x-user-id`, say."""
    try:
        return None if text is None else parse_key(text)
    except DeploymentError as error:
        raise usage(error) from error


def reason(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """A sentence that is not too long to be written down."""
    said = text.strip()
    if len(said) > LONGEST_REASON:
        raise click.BadParameter(f"A reason of {len(said)} characters is too long; say it in {LONGEST_REASON}.")
    return said


def duration(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    """`90`, `90s`, `5m` or `1h` in seconds, at most a day; 0 is allowed."""
    found = DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else -1.0
    if not 0 <= seconds <= LONGEST_TIMEOUT_S:
        raise click.BadParameter(f"{text!r} is no time; say 90s, 5m or 1h, a day at most.")
    return seconds


def is_typed(context: click.Context, option: str) -> bool:
    """Whether it is more than its default."""
    return context.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT


def usage(error: DeploymentError) -> click.BadParameter:
    return click.BadParameter(f"{error.problem} {error.remedy}")
