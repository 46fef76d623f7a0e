"""The options that say how an observer asks, the same for a shadow and for a recording."""

from __future__ import annotations

from collections.abc import Callable

import click

from stopgap.cli.arguments import timeout
from stopgap.recordings import Recording
from stopgap.shadows import Shadow

__all__ = ["paced"]


def paced(usual: type[Recording] | type[Shadow]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command `--in-flight`, `--queue`, `--largest-mib` and `--deadline`, in that order.

    Args:
        usual: Has their defaults.
    """
    options = (
        click.option("--in-flight", type=click.IntRange(1, 32), default=usual.in_flight, show_default=True,
            help="Asked at once.",
        ),
        click.option("--queue", type=click.IntRange(1, 100_000), default=usual.queue, show_default=True,
            help="How many requests may wait to be asked; what comes then is dropped.",
        ),
        click.option("--largest-mib", type=click.IntRange(1, 1024), default=usual.largest_mib, show_default=True,
            help="A larger request is dropped.",
        ),
        click.option("--deadline", "deadline_s", type=float, callback=timeout, default=usual.deadline_s,
            show_default=True, metavar="S", help="Of each question; and how long a request may wait before.",
        ),
    )  # fmt: skip

    def given(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):  # click lists the innermost last
            command = option(command)
        return command

    return given
