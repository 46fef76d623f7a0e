"""`stopgap feedback`: what came of a split's answers, many at once."""

from __future__ import annotations

from pathlib import Path

import click

from stopgap.cli.arguments import deployment_name
from stopgap.cli.output import print_json
from stopgap.handover.feedback import take_feedback
from stopgap.ledger.book import Taken
from stopgap.store import Store

__all__ = ["feedback"]


@click.command()
@click.argument("name", callback=deployment_name)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def feedback(*, name: str, file: Path, as_json: bool) -> None:
    """Say what came of answers to callers of NAME, whose callers are split or were so last.

    FILE has lines of {"id": ID, "reward": R} or {"id": ID, "label": L}: the id is what an answer has in its header
    stopgap-request-id, a reward is from 0 to 1, a label is counted. The first of each id counts.
    """
    taken = take_feedback(name, file, Store.default())
    if as_json:
        print_json(
            {
                "name": name,
                "taken": taken[Taken.NOW],
                "before": taken[Taken.BEFORE],
                "unknown": taken[Taken.UNKNOWN],
            }
        )
        return
    now, before, unknown = (taken[each] for each in Taken)
    click.echo(f"{now} taken, {before} had one already, {unknown} are of no answer that is known")
