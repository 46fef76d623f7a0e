"""`stopgap resume`: brings deployments back that are down, after a reboot above all."""

from __future__ import annotations

import click

from stopgap.cli.output import print_error, reporter, warn_of_sunset
from stopgap.engines.choice import Engines
from stopgap.errors import StopgapError
from stopgap.ledgers import recover_ledgers
from stopgap.observing import KINDS, observe_again
from stopgap.recovery import resume as bring_back
from stopgap.store import Store
from stopgap.sunset import utc_today

__all__ = ["resume"]


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME…]")
def resume(names: tuple[str, ...]) -> None:
    """Bring back what is down, all or the deployments NAME, their observers and ledgers; after a reboot above all.

    Docker brings its containers back by itself; what bubblewrap runs waits for this command.
    """
    store = Store.default()
    engines = Engines(store.folder)
    wanted = names or tuple(deployment.name for deployment in store.deployments() if not deployment.stopping)
    if not wanted:
        click.echo("Nothing is being served.", err=True)
    failed = False
    with reporter() as report:
        for name in wanted:
            try:
                was_down = bring_back(name, engines, store, report.progress)
                back = [kind.process for kind in KINDS if observe_again(kind, name, store)]
            except StopgapError as error:  # noqa: PERF203 - the others shall come back all the same
                print_error(error)
                failed = True
            else:
                click.echo(f"{name} answers again" if was_down else f"{name} was not down")
                for process in back:
                    click.echo(f"the {process} of {name} is there again")
                warn_of_sunset(name, store.deployment(name).until, utc_today())
        recover_ledgers(store, report.say)
    if failed:
        raise click.exceptions.Exit(1)
