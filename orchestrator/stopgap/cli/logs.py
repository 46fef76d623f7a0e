"""`stopgap logs`: what a sandbox has written, escaped, since a model can print what it likes."""

from __future__ import annotations

import click

from stopgap.cli import engine as engines
from stopgap.containment import sandbox_container
from stopgap.errors import DeploymentError
from stopgap.printable import printable
from stopgap.store import Store

__all__ = ["logs"]


@click.command()
@click.argument("name")
@click.option("--tail", type=click.IntRange(1), default=100, show_default=True, help="How many lines.")
@click.option("--follow", is_flag=True, help="Go on with new lines until it ends.")
def logs(name: str, tail: int, follow: bool) -> None:
    """Show the last lines of a sandbox's log."""
    Store.default().deployment(name)
    engine = engines.chosen()
    container = sandbox_container(name)
    if engine.observe(container) is None:
        raise DeploymentError(
            f"The sandbox of {name} is gone, and its log with it.", f"Take away what is left: stopgap stop {name}"
        )
    for line in engine.follow(container, tail) if follow else engine.logs(container, tail):
        click.echo(printable(line))
