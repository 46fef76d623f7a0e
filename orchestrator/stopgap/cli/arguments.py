"""What is typed on a command line and needs a check of its own: wrong is a usage error, told before all else."""

from __future__ import annotations

from datetime import date

import click

from stopgap.errors import DeploymentError
from stopgap.settings import LONGEST_TIMEOUT_S, check_name, check_tag
from stopgap.sunset import parse_sunset, utc_today

__all__ = ["deployment_name", "deployment_names", "sunset", "tags", "timeout"]


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


def usage(error: DeploymentError) -> click.BadParameter:
    return click.BadParameter(f"{error.problem} {error.remedy}")
