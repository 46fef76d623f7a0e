"""`stopgap doctor`: what keeps this machine from serving, each fault with the command that mends it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stopgap.cli.output import print_json
from stopgap.doctor.examination import Line, examine, look
from stopgap.doctor.finding import State
from stopgap.doctor.machine import Machine
from stopgap.printable import printable
from stopgap.progress_bars import shown_progress
from stopgap.store import Store

__all__ = ["doctor"]

COLOURS = {
    State.OK: "green",
    State.BROKEN: "bold red",
    State.SPARE: "yellow",
    State.UNKNOWN: "yellow",
    State.ABSENT: "dim",
}
STATE_WIDTH = max(len(state.value) for state in State)
REMEDY_INDENT = " " * (STATE_WIDTH + 4)
WIDTH_OF_NO_TERMINAL = 400


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a check.")
def doctor(model: Path | None, as_json: bool) -> None:
    """Examine this machine, and MODEL if given, and say how to mend what is broken.

    Exits with 1 where something is broken that serving needs. It changes nothing, but for what it asks before.
    """
    machine = Machine(Store.default(), model)
    with shown_progress() as progress:
        lines = examine(machine, progress)
    if as_json:
        print_json([as_object(line) for line in lines])
    else:
        print_lines(lines)
        lines = tuple(mended(line, machine) for line in lines)
        print_verdict(lines)
    if faults(lines):
        raise click.exceptions.Exit(1)


def faults(lines: Iterable[Line]) -> list[Line]:
    return [line for line in lines if line.finding.state is State.BROKEN]


def as_object(line: Line) -> dict[str, str]:
    return {
        "topic": line.check.topic,
        "check": line.check.name,
        "state": line.finding.state.value,
        "detail": line.finding.detail,
        "remedy": line.finding.remedy,
    }


def print_lines(lines: Iterable[Line]) -> None:
    """To stdout, by topic; what is to be copied is never folded."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_NO_TERMINAL
    for topic, of_topic in groupby(lines, key=lambda line: line.check.topic):
        console.print(Text(topic, style="bold"))
        for line in of_topic:
            print_line(console, line)


def print_line(console: Console, line: Line) -> None:
    finding = line.finding
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=2 + STATE_WIDTH)
    row.add_column(width=24, overflow="fold")
    row.add_column(overflow="fold")
    row.add_row(
        Text(f"  {finding.state.value}", style=COLOURS[finding.state]),
        Text(printable(line.check.name)),
        Text(printable(finding.detail)),
    )
    console.print(row)
    for command in finding.remedy.splitlines():
        console.print(Text(REMEDY_INDENT + printable(command), style="bold"), soft_wrap=True)


def mended(line: Line, machine: Machine) -> Line:
    """The line after doctor has mended it, where it can, a person sits at a terminal, and agrees."""
    finding = line.finding
    at_a_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if not (finding.state is State.BROKEN and finding.repair and at_a_terminal):
        return line
    if not click.confirm(f"\n{line.check.topic}, {line.check.name}: run {shlex.join(finding.repair)} now?"):
        return line
    subprocess.run(finding.repair, check=False)
    after = Line(line.check, look(line.check, machine))
    print_lines([after])
    return after


def print_verdict(lines: tuple[Line, ...]) -> None:
    broken = [f"{line.check.topic}: {line.check.name}" for line in faults(lines)]
    if broken:
        click.echo(f"\nBroken: {printable('; '.join(broken))}.")
    else:
        click.echo("\nNothing that serving needs is broken.")
