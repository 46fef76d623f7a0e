"""`stopgap verify`: whether what is served still is what was served first."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from stopgap.cli.output import print_json, print_table, reporter
from stopgap.engines.choice import Engines
from stopgap.printable import printable
from stopgap.store import Store
from stopgap.verification import Checked, verify

__all__ = ["verify_command"]

COLUMNS = ("NAME", "WHAT", "STATE", "FILES", "WHERE")
OK, CHANGED, UNKNOWN = "ok", "CHANGED", "UNKNOWN"
COLOURS = {OK: "green", CHANGED: "bold red", UNKNOWN: "bold yellow"}
EXIT_CHANGED = 3
EXIT_UNKNOWN = 1  # as after any other error
MOST_SHOWN = 20


@click.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, with every change.")
def verify_command(names: tuple[str, ...], as_json: bool) -> None:
    """Hash again what deployments are made of, against what was written down when they were first served.

    The model, libraries of operations, the bundle, and what the sandbox and the front are made of; of all that is
    served if none is named. Ends with 3 where anything has changed; else with 1 where anything is UNKNOWN, since it
    could not be looked at. Nothing is stopped.
    """
    store = Store.default()
    engines = Engines(store.folder)
    wanted = dict.fromkeys(names or sorted(store.names()))
    with reporter() as report:
        found = [(name, each) for name in wanted for each in verify(name, engines, store, report.progress)]
    if as_json:
        print_json([as_object(name, checked) for name, checked in found])
    elif found:
        print_table(COLUMNS, [as_row(name, checked) for name, checked in found])
        tell_changes(found)
        tell_troubles(found)
    else:
        click.echo("Nothing is being served.", err=True)
    states = {state(checked) for _, checked in found}
    if CHANGED in states:
        raise click.exceptions.Exit(EXIT_CHANGED)
    if UNKNOWN in states:
        raise click.exceptions.Exit(EXIT_UNKNOWN)


def as_object(name: str, checked: Checked) -> dict[str, Any]:
    return {
        "name": name,
        "what": checked.what,
        "where": checked.where,
        "files": checked.files,
        "state": state(checked),
        "changes": list(checked.changes),
        "trouble": str(checked.trouble) if checked.trouble else None,
    }


def as_row(name: str, checked: Checked) -> tuple[str | Text, ...]:
    word = state(checked)
    return (name, checked.what, Text(word, style=COLOURS[word]), str(checked.files), checked.where)


def state(checked: Checked) -> str:
    if checked.trouble:
        return UNKNOWN
    return CHANGED if checked.changes else OK


def tell_changes(found: list[tuple[str, Checked]]) -> None:
    """Below the table, to stdout as well: it is what was asked for. Names of files are a model's to choose."""
    for name, checked in found:
        for change in checked.changes[:MOST_SHOWN]:
            click.echo(printable(f"{name}: {checked.what}: {change}"))
        if len(checked.changes) > MOST_SHOWN:
            click.echo(f"{name}: {checked.what}: and {len(checked.changes) - MOST_SHOWN} more, which --json tells")


def tell_troubles(found: list[tuple[str, Checked]]) -> None:
    """What could not be looked at, and what to do about it: to stderr."""
    for name, checked in found:
        if checked.trouble:
            click.echo(printable(f"{name}: {checked.what}: {checked.trouble.problem}"), err=True)
            for line in checked.trouble.remedy.splitlines():
                click.echo(f"    {printable(line)}", err=True)
