"""`stopgap extend`: moves the day by which a model must be gone, and records why."""

from __future__ import annotations

from datetime import date

import click

from stopgap import extension
from stopgap.cli.arguments import sunset
from stopgap.cli.output import reporter
from stopgap.engines.choice import Engines
from stopgap.printable import printable
from stopgap.store import Store
from stopgap.sunset import countdown, utc_today

__all__ = ["extend"]


@click.command()
@click.argument("model")
@click.option("--until", callback=sunset, required=True, metavar="DATE", help="The new day.")
@click.option("--reason", default="", metavar="TEXT", help="Why it must stay longer; shown by status.")
def extend(*, model: str, until: date, reason: str) -> None:
    """Move the day by which MODEL must be gone.

    MODEL is the name of a deployment, or the folder of a model that was served before. The day is the model's: it moves
    under all of its names. A later one needs a reason. What runs is told of it at once, and does not stop for it.
    """
    store = Store.default()
    with reporter() as report:
        done = extension.extend(model, until, Engines(store.folder), store, report.progress, reason=reason)
    names = ", ".join(done.names) or model
    was = "as before" if done.before == done.now else f"it was {done.before.until}"
    click.echo(printable(f"{names}: {countdown(done.now.until, utc_today())} ({was})"))
