"""A run's figures for who reads the terminal: tables with bars."""

from __future__ import annotations

from typing import Any

from bounds import bounds
from rich.console import Console
from rich.table import Table

WIDTH = 24


def show(console: Console, results: dict[str, Any]) -> None:
    """All that was measured, and what it is held against."""
    for key, title in (
        ("one_caller_us", "one caller"),
        ("smaller_model_us", "one caller, a smaller model"),
        ("large_10mb_us", "10 MB in a request"),
    ):
        console.print(latencies(title, results[key]))
    for key, title in (("eight_callers_rps", "eight callers"), ("workers_rps", "workers, eight callers")):
        console.print(rates(title, results[key]))
    for key in ("memory_mib", "startup_s"):
        console.print(key, results[key])
    for key in ("layers_us", "turns_us"):
        console.print(key, results[key])
    one, two = results["wakeups_us"]["one_core"], results["wakeups_us"]["two_cores"]
    console.print(f"a process woken, and its caller again: {one:.0f} µs on one core, {two:.0f} µs on two")
    table = Table("bound", "figure", "", "")
    for bound in bounds(results):
        figure = "—" if bound.figure is None else f"{bound.figure:.2f}"
        limit = f"{'≥' if bound.at_least else '≤'} {bound.bound:g}"
        table.add_row(bound.what, figure, limit, "✓" if bound.holds else "✗")
    console.print(table)


def latencies(title: str, figures: dict[str, Any]) -> Table:
    table = Table(title, "p50 µs", "p99 µs", "")
    longest = max(figure["p50"] for figure in figures.values() if figure)
    for name, figure in figures.items():
        if figure is None:
            table.add_row(name, "—", "—", "")
            continue
        bar = "█" * round(WIDTH * figure["p50"] / longest)
        table.add_row(name, f"{figure['p50']:.0f}", f"{figure['p99']:.0f}", bar)
    return table


def rates(title: str, figures: dict[str, float | None]) -> Table:
    table = Table(title, "requests/s", "")
    highest = max(figure for figure in figures.values() if figure)
    for name, figure in figures.items():
        table.add_row(name, f"{figure:.0f}" if figure else "—", "█" * round(WIDTH * (figure or 0) / highest))
    return table
