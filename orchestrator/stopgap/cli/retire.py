"""`stopgap retire`: the end of a legacy model whose place is taken."""

from __future__ import annotations

import click

from stopgap import recording, shadowing
from stopgap.cli.arguments import reason
from stopgap.cli.output import print_json, reporter
from stopgap.engines.choice import Engines
from stopgap.handover import retiring
from stopgap.handover.retiring import AFTER_DAYS
from stopgap.recovery import recover
from stopgap.store import Store

__all__ = ["retire"]


@click.command()
@click.argument("name")
@click.option(
    "--after-days",
    type=click.FloatRange(min=0, max=3650),
    default=AFTER_DAYS,
    show_default=True,
    metavar="N",
    help="For so long must nobody have asked for it.",
)
@click.option("--force", is_flag=True, help="Whoever asks for it.")
@click.option("--reason", default="", callback=reason, metavar="TEXT", help="Why it is forced; written down.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def retire(*, name: str, after_days: float, force: bool, reason: str, as_json: bool) -> None:
    """End the sandbox of NAME, whose place is taken; the name stays with its successor.

    A record of the retirement is written into the state folder, and named.
    """
    if force and not reason:
        raise click.UsageError("--force needs a --reason.")
    store = Store.default()
    engines = Engines(store.folder)
    with reporter() as report:
        recover(engines, store, report.say)
        forced = reason if force else ""
        retiring.check_may_be_retired(name, store, after_days=after_days, forced=forced)
        # While the model's front still tells of its last requests, so that their accounts are whole.
        for word, end in (("shadow", shadowing.end), ("recording", recording.end)):
            if end(name, engines, store):
                report.say(f"the {word} of {name} has ended")
        written = retiring.retire(
            name, engines, store, report.say, report.progress, after_days=after_days, forced=forced
        )
    if as_json:
        print_json({"name": name, "record": str(written.json), "page": str(written.markdown)})
        return
    click.echo(f"{name} is retired: its name is answered by its successor.\nThe record of it: {written.markdown}")
