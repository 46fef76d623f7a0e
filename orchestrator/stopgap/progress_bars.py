"""A long step, shown on the terminal: a bar where the end is known, a spinner where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from stopgap.progress import Progress, silent

__all__ = ["shown_progress"]


@contextmanager
def shown_progress(console: Console | None = None, *, quiet_elsewhere: bool = False) -> Iterator[Progress]:
    """A Progress that shows one line, on stderr unless told otherwise, and takes it away at the end.

    Where that is no terminal, each phase is printed once instead; with `quiet_elsewhere`, nothing is.
    """
    console = console or Console(stderr=True)
    if console.is_terminal:
        with _bars(console) as bars:
            yield _on_a_bar(bars)
    elif quiet_elsewhere:
        yield silent
    else:
        yield _on_lines(console)


def _bars(console: Console) -> Bars:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    return Bars(*columns, TimeElapsedColumn(), console=console, transient=True)


def _on_a_bar(bars: Bars) -> Progress:
    def show(phase: str, fraction: float | None) -> None:
        if phase not in [task.description for task in bars.tasks]:
            for task in bars.tasks:
                bars.remove_task(task.id)
            bars.add_task(phase, total=None if fraction is None else 1.0)
        bars.update(bars.tasks[0].id, completed=fraction)

    return show


def _on_lines(console: Console) -> Progress:
    said: set[str] = set()

    def show(phase: str, _: float | None) -> None:
        if phase not in said:
            said.add(phase)
            console.print(f"{phase} …", markup=False, highlight=False)

    return show
