"""`stopgap rollback`: all callers to the legacy model again."""

from __future__ import annotations

import click

from stopgap.cli.arguments import reason
from stopgap.cli.output import reporter
from stopgap.engines.choice import Engines
from stopgap.handover.going_back import roll_back
from stopgap.recovery import recover
from stopgap.store import Store

__all__ = ["rollback"]


@click.command()
@click.argument("name")
@click.option("--reason", default="", callback=reason, metavar="TEXT", help="Why; written down.")
def rollback(*, name: str, reason: str) -> None:
    """Have all callers of NAME answered by itself again, from whatever stage.

    At once, for as long as its sandbox stands: until stopgap retire.
    """
    store = Store.default()
    engines = Engines(store.folder)
    with reporter() as report:
        recover(engines, store, report.say)
        done = roll_back(name, reason, engines, store)
    click.echo(f"{name} is answered by itself again; it was in the stage {done.before.stage.value}")
