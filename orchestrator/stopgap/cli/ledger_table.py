"""What a split's ledger knows, for a person and as JSON."""

from __future__ import annotations

import math
from typing import Any

import click
from rich.text import Text

from stopgap.cli.output import print_table
from stopgap.ledger.book import ARMS, Arm
from stopgap.ledger.report import Report
from stopgap.printable import printable
from stopgap.stages import SHARES, percent
from stopgap.two_means import Mean, TwoMeansVerdict

__all__ = ["ledger_object", "print_ledger"]

LABELS_SHOWN = 5


def ledger_object(found: Report) -> dict[str, Any]:
    known = found.known
    return {
        "kept": found.reading.kept,
        "callers": known.ratio.units,
        "candidates": known.ratio.candidates,
        "share": number(known.ratio.share),
        "mismatch": known.ratio.mismatch,
        "moved": known.moved,
        "not_units": known.not_units,
        "lost": known.lost,
        "arms": {which: arm_object(known.arm(which), found.share) for which in ARMS},
        "judged_share": number(found.share / SHARES),
        "judged_callers": found.units,
        "left_out": found.left_out,
        "well": difference_object(found.well),
        "rewards": difference_object(found.rewards),
        "warnings": found.reading.warnings,
    }


def arm_object(arm: Arm, share: int) -> dict[str, Any]:
    firsts = arm.at(share)
    return {
        "units": arm.units,
        "first_answers": firsts.judged,
        "first_failed": firsts.failed,
        "requests": arm.requests,
        "requests_failed": arm.requests_failed,
        "took_s": round(arm.took_s, 6),
        "feedback": arm.feedback,
        "rewards_apart": arm.apart,
        "labels": dict(arm.labels),
    }


def difference_object(found: TwoMeansVerdict) -> dict[str, Any]:
    return {
        "outcome": found.outcome,
        "difference": number(found.estimate),
        "lower": number(found.lower),
        "upper": number(found.upper),
        "candidate": mean_object(found.candidate),
        "legacy": mean_object(found.legacy),
    }


def mean_object(found: Mean) -> dict[str, Any]:
    mean = {"mean": number(found.estimate), "lower": number(found.lower), "upper": number(found.upper)}
    return {"units": found.units, **mean}


def number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def print_ledger(found: Report, margin: float | None) -> None:
    """
    Args:
        margin: By how much the candidate's mean reward may be lower; None where none was stated.
    """
    for warning in found.reading.warnings:
        click.echo(click.style(warning, fg="red", bold=True))
    known = found.known
    click.echo("\nCallers, each once, by the first answer that was heard of:")
    rows: list[tuple[str | Text, ...]] = [arm_row(which, found) for which in ARMS]
    print_table(("", "CALLERS", "FIRST ANSWER WELL", "REQUESTS", "FAILED", "MEAN", "FEEDBACK", "MEAN REWARD"), rows)
    if known.ratio.units and not known.ratio.mismatch:
        click.echo(f"The candidate has {known.ratio.share:.2%} of the callers, as its shares so far would have it.")
    if found.left_out:
        click.echo(
            f"Compared are the {found.units} callers that were first seen at the share of {percent(found.share)}; "
            f"{found.left_out} were first seen at another, and are left out: more of the one arm would be of "
            "earlier days than of the other."
        )
    if found.well.candidate.units and found.well.legacy.units:
        click.echo(f"First answers that were well: {difference(found.well)}.")
    if found.rewards.candidate.units or found.rewards.legacy.units:
        judged = "no margin was stated" if margin is None else f"at most {margin:g} lower: {found.rewards.outcome}"
        click.echo(f"Rewards: {difference(found.rewards)}; {judged}.")
    elif margin is not None:
        click.echo(f"Rewards: none of these callers' yet; at most {margin:g} lower: {found.rewards.outcome}.")
    for which in ARMS:
        labels = list(known.arm(which).labels.items())
        if labels:
            told = ", ".join(f"{printable(label)} {times}" for label, times in labels[:LABELS_SHOWN])
            more = f" and {len(labels) - LABELS_SHOWN} more" if len(labels) > LABELS_SHOWN else ""
            click.echo(f"Labels of the {which}'s answers: {told}{more}")


def arm_row(which: str, found: Report) -> tuple[str, ...]:
    arm = found.known.arm(which)
    well = found.well.candidate if which == ARMS[0] else found.well.legacy
    reward = found.rewards.candidate if which == ARMS[0] else found.rewards.legacy
    return (
        which,
        str(arm.units),
        mean(well, as_percent=True),
        str(arm.requests),
        str(arm.requests_failed),
        f"{arm.took_s / arm.requests * 1000:.2f} ms" if arm.requests else "-",
        str(arm.feedback),
        f"{mean(reward)} of {reward.units}" if reward.units else "-",
    )


def mean(found: Mean, *, as_percent: bool = False) -> str:
    if not found.units:
        return "-"
    shown = (f"{value:.2%}" if as_percent else f"{value:.3f}" for value in (found.estimate, found.lower, found.upper))
    return "{} [{}, {}]".format(*shown)


def difference(found: TwoMeansVerdict) -> str:
    """The candidate's less the legacy model's."""
    told = "-" if math.isnan(found.estimate) else f"{found.estimate:+.3f}"
    return f"candidate less legacy {told} [{found.lower:+.3f}, {found.upper:+.3f}]"
