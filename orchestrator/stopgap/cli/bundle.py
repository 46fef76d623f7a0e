"""`stopgap bundle`: the TensorFlow libraries in the cache."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from stopgap import bundles
from stopgap.bundle_rows import default_row
from stopgap.bundles import Listed
from stopgap.progress_bars import shown_progress

__all__ = ["bundle"]


@click.group()
def bundle() -> None:
    """TensorFlow libraries: fetch them ahead, list them, verify them.

    `stopgap serve` fetches by itself what it needs.
    """


@bundle.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every bundle that there is.")
@click.option("--again", is_flag=True, help="Fetch it anew even though it is there.")
def fetch(names: tuple[str, ...], everything: bool, again: bool) -> None:
    """Fetch bundles by their SHA-256; the default for legacy models if none is named."""
    if names and everything:
        raise click.UsageError("Give names or --all, not both.")
    for name in _chosen(names, everything):
        with shown_progress() as progress:
            made = bundles.ensure(name, progress, again=again)
        click.echo(f"{made.name}  {made.path}")


@bundle.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(as_json: bool) -> None:
    """List the bundles that there are, and which of them have been fetched."""
    found = bundles.listed()
    if as_json:
        click.echo(json.dumps([_as_json(entry) for entry in found], indent=1))
    else:
        Console().print(_table(found))


@bundle.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def verify(names: tuple[str, ...]) -> None:
    """Compute the SHA-256 of every file of fetched bundles anew; of all that are there if none is named."""
    fetched = [entry.row.name for entry in bundles.listed() if entry.bundle]
    for name in names or fetched:
        with shown_progress() as progress:
            bundles.verify(name, progress)
        click.echo(f"{name}  unchanged")
    if not names and not fetched:
        click.echo("No bundle has been fetched.")


def _chosen(names: tuple[str, ...], everything: bool) -> tuple[str, ...]:
    if everything:
        return tuple(entry.row.name for entry in bundles.listed())
    return names or (default_row("legacy").name,)


def _as_json(entry: Listed) -> dict[str, object]:
    return {
        "name": entry.row.name,
        "kind": entry.row.kind,
        "tensorflow": entry.row.tensorflow,
        "needs": list(entry.row.needs),
        "fetched": entry.bundle is not None,
        "path": str(entry.bundle.path) if entry.bundle else None,
        "bytes": entry.size,
    }


def _table(found: tuple[Listed, ...]) -> Table:
    table = Table("name", "for", "TensorFlow", "fetched", box=None, pad_edge=False)
    table.add_column("folder", overflow="fold")
    for entry in found:
        fetched = f"{entry.size / 1e6:.0f} MB" if entry.bundle else "no"
        where = str(entry.bundle.path) if entry.bundle else ""
        table.add_row(entry.row.name, entry.row.kind, entry.row.tensorflow, fetched, where)
    return table
