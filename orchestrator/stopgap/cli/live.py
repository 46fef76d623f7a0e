"""`stopgap live`: one page that shows everything of this state folder, for as long as the command runs."""

from __future__ import annotations

import click

from stopgap.report.needed import check_installed
from stopgap.store import Store

__all__ = ["live"]

PORT = 9465
DEADLINE_S = 2.0  # of one look at everything
WITHOUT = "stopgap status tells the same in words, stopgap metrics tells it to Prometheus."


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="On 127.0.0.1, and nowhere else; 0 for any that is free.",
)
@click.option(
    "--interval",
    type=click.FloatRange(0.5, 60.0),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How often everything is looked at, however many browsers show it.",
)
def live(*, port: int, interval: float) -> None:
    """Show all models on a page that changes as they do, until it is interrupted.

    The page is at the address that is printed, on this machine alone; the word in it keeps other users of the machine
    out. It changes nothing, and remembers nothing but the last minutes that it has seen itself.
    """
    check_installed("The live page", WITHOUT)
    from stopgap.live.gathering import Gathering  # noqa: PLC0415 - an extra
    from stopgap.live.lookout import live as shown  # noqa: PLC0415 - likewise

    store = Store.default()
    server, address = shown(Gathering(store, DEADLINE_S).look, port, interval)
    click.echo(address)
    click.echo(f"{store.folder} is shown there, until Ctrl-C.", err=True)
    with server:
        server.serve_forever()
