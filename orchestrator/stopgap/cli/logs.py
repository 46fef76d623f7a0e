"""`stopgap logs`: what a sandbox has written, escaped, since a model can print what it likes."""

from __future__ import annotations

import click

from stopgap.cli.output import warn_of_sunset
from stopgap.containment.specs import sandbox_container
from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError
from stopgap.printable import printable
from stopgap.store import Store
from stopgap.sunset import utc_today

__all__ = ["logs"]


@click.command()
@click.argument("name")
@click.option("--tail", type=click.IntRange(1), default=100, show_default=True, help="How many lines.")
@click.option("--follow", is_flag=True, help="Go on with new lines until it ends.")
def logs(name: str, tail: int, follow: bool) -> None:
    """Show the last lines of a sandbox's log."""
    store = Store.default()
    deployment = store.deployment(name)
    engine = Engines(store.folder).named(deployment.engine)
    container = sandbox_container(name)
    if engine.observe(container) is None:
        raise DeploymentError(
            f"The sandbox of {name} is gone, and its log with it.", f"Take away what is left: stopgap stop {name}"
        )
    warn_of_sunset(name, deployment.until, utc_today())
    for line in engine.follow(container, tail) if follow else engine.logs(container, tail):
        click.echo(printable(line))
