"""How results and progress reach a person: results to stdout, everything else to stderr, nothing hostile unescaped."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stopgap.errors import SandboxError, StopgapError
from stopgap.printable import printable
from stopgap.progress import Progress
from stopgap.progress_bars import shown_progress
from stopgap.sunset import days_left, warning, way_out

__all__ = ["Reporter", "print_error", "print_json", "print_table", "reporter", "warn_of_sunset"]


@dataclass(frozen=True)
class Reporter:
    """Where a long step says how far it is, on a line that changes, and what deserves a line that stays."""

    console: Console
    progress: Progress

    def say(self, text: str) -> None:
        self.console.print(Text(printable(text)), soft_wrap=True)


@contextlib.contextmanager
def reporter() -> Iterator[Reporter]:
    console = Console(stderr=True)
    with shown_progress(console) as progress:
        yield Reporter(console, progress)


def print_table(columns: tuple[str, ...], rows: list[tuple[str | Text, ...]]) -> None:
    """To stdout; cut to the terminal's width, but never where stdout is a file or a pipe."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 400
    console.print(table)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def warn_of_sunset(name: str, until: date, today: date) -> None:
    """To stderr, so that whoever pipes the results away still sees it; silent while the day is far."""
    text = warning(name, until, today)
    if text:
        passed = days_left(until, today) < 0
        said = click.style(f"warning: {printable(text)}", fg="red" if passed else "yellow", bold=passed)
        click.echo(f"{said} {printable(way_out(name))}", err=True)


def print_error(error: StopgapError) -> None:
    """What is wrong, the log lines that go with it, and what to do: to stderr, without a traceback."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {printable(error.problem)}", err=True)
    if isinstance(error, SandboxError) and error.log_tail:
        click.echo("The sandbox's last lines:", err=True)
        for line in error.log_tail:
            click.echo(f"    {printable(line, longest=500)}", err=True)
    for line in error.remedy.splitlines():
        click.echo(printable(line), err=True)
    sys.stderr.flush()
