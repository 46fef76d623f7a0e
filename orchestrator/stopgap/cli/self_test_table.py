"""What a self-test has found, as a person or a program reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from stopgap.cli.output import print_table
from stopgap.comparison.self_test import DETECTED, Detection, SelfTest
from stopgap.printable import printable

__all__ = ["self_test_object", "show_self_test"]

OF_A_SHARE = ("answers to other requests", "no answer")


def self_test_object(found: SelfTest) -> dict[str, Any]:
    """For JSON."""
    return {**asdict(found), "detected_share": DETECTED}


def show_self_test(found: SelfTest) -> None:
    """To stdout; what nobody should miss in words below the table."""
    click.echo(
        f"{found.units} units, {found.draws} draws of as many; "
        f"the legacy model against itself passes in {found.intact.passed:.0%} of them"
    )
    kinds = list(dict.fromkeys(each.kind for each in found.detections))
    print_table(
        ("damage", f"smallest that fails in {DETECTED:.0%} of the draws", "the largest tried", "passes", "fails"),
        [row_of(kind, found) for kind in kinds],
    )
    for line in warnings_of(found):
        click.echo(printable(line), err=True)


def row_of(kind: str, found: SelfTest) -> tuple[str, ...]:
    largest = max((each for each in found.detections if each.kind == kind), key=lambda each: each.size)
    smallest = next(
        (each for each in found.detections if each.kind == kind and each.size == found.smallest.get(kind)), None
    )
    told = size_of(smallest) if smallest else "not covered" if kind in found.not_covered else "undecided"
    return kind, told, size_of(largest), f"{largest.passed:.0%}", f"{largest.failed:.0%}"


def size_of(detection: Detection) -> str:
    """Of what is done to a share of the units that share; of scores how far in their own standard deviations."""
    if detection.kind in OF_A_SHARE:
        return f"{100 * detection.share:.3g} % of the units"
    if detection.kind.startswith("scores scaled"):
        return f"by {1 + detection.size:g}"
    if detection.kind.startswith(("scores shifted", "noise")):
        return f"{detection.size:g} deviations"
    return "all of it"


def warnings_of(found: SelfTest) -> Iterator[str]:
    if found.intact.passed < DETECTED:
        yield "Not even the legacy model passes against itself: add units, or state other margins."
    if found.not_covered:
        yield f"Not covered, since the stated margins cannot see it: {', '.join(found.not_covered)}."
    if found.undecided:
        yield f"Undecided with so many units: {', '.join(found.undecided)}."
