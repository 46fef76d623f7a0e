"""`stopgap stop`: ends deployments, also those that a killed serve never finished, and leaves nothing of them."""

from __future__ import annotations

import click

from stopgap import deployment, recording, shadowing
from stopgap.cli.output import print_error, reporter
from stopgap.conditions import unfinished
from stopgap.engines.choice import Engines
from stopgap.errors import StopgapError
from stopgap.recovery import recover
from stopgap.stages import Stage
from stopgap.store import Store

__all__ = ["stop"]


@click.command()
@click.argument("names", nargs=-1, metavar="NAME…")
@click.option("--all", "everything", is_flag=True, help="Stop all that there is.")
def stop(names: tuple[str, ...], everything: bool) -> None:
    """Stop serving models; requests under way are finished first."""
    if bool(names) == everything:
        raise click.UsageError("Give one name or more, or --all.")
    store = Store.default()
    engines = Engines(store.folder)
    left = unfinished(engines, store)
    retired = [record.name for record in store.hand_overs() if record.stage is Stage.RETIRED]
    for name in set(names).difference(left, retired):
        store.deployment(name)  # a wrong name stops nothing
    everybody = dict.fromkeys((*store.names(), *left, *retired))
    wanted = tuple(everybody if everything else dict.fromkeys(names))
    if not wanted:
        click.echo("Nothing is being served.", err=True)
    failed = False
    with reporter() as report:
        for name in wanted:
            report.progress(f"stopping {name}", None)
            try:
                if not everything:
                    deployment.check_may_be_stopped(name, store)  # before anything that belongs to it ends
                end_observers(name, engines, store)
                if everything and name not in (*store.names(), *left, *retired):  # it has ended with its shadow
                    continue
                deployment.stop(name, engines, store, report.say, promoted_too=everything)
                click.echo(f"stopped {name}")
            except StopgapError as error:  # the others shall end all the same
                print_error(error)
                failed = True
        recover(engines, store, report.say)
    if failed:
        raise click.exceptions.Exit(1)


def end_observers(name: str, engines: Engines, store: Store) -> None:
    for word, end in (("shadow", shadowing.end), ("recording", recording.end)):
        if end(name, engines, store):
            click.echo(f"the {word} of {name} has ended")
