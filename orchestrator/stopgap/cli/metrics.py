"""`stopgap metrics`: what Prometheus wants to know of all deployments, once or for as long as it runs."""

from __future__ import annotations

import click

from stopgap.store import Store

__all__ = ["metrics"]

LISTEN = "127.0.0.1:9464"


@click.command()
@click.option(
    "--listen",
    callback=lambda _context, _parameter, text: address(text),
    default=LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where, on the loopback alone.",
)
@click.option("--once", is_flag=True, help="Print them, and end.")
def metrics(*, listen: tuple[str, int], once: bool) -> None:
    """Tell Prometheus of all deployments at http://HOST:PORT/metrics, until it is interrupted.

    With --once they are printed in Prometheus' text format, for node_exporter's textfile collector, say.
    """
    # Only here is an HTTP server needed, and Prometheus' library.
    from stopgap.metrics import exported, exposition  # noqa: PLC0415

    store = Store.default()
    if once:
        click.echo(exposition(store), nl=False)
        return
    host, port = listen
    exporter = exported(store, host, port)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"Metrics of {store.folder} are at http://{shown}:{exporter.port}/metrics", err=True)
    exporter.thread.join()


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{text!r} is not HOST:PORT, such as {LISTEN}.")
    return host.strip("[]"), int(port)
