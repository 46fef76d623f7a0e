"""`stopgap status`: what is served, how it is, and how long it may stay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Union

import click
from rich.text import Text

from stopgap.cli import engine as engines
from stopgap.cli.output import print_json, print_table
from stopgap.cli.serve import described
from stopgap.deployment import Condition, Health, look, unfinished
from stopgap.printable import printable
from stopgap.store import Store
from stopgap.sunset import countdown, days_left

__all__ = ["status"]

COLUMNS = ("NAME", "STATE", "ADDRESS", "WORKERS", "MEMORY", "ENGINE", "SUNSET", "VERSION")
COLOURS = {
    Condition.SERVING: "green",
    Condition.LOADING: "yellow",
    Condition.RESTARTING: "yellow",
    Condition.STOPPING: "yellow",
    Condition.DOWN: "bold red",
    Condition.UNFINISHED: "yellow",
    Condition.DAMAGED: "bold red",
}
SOON_DAYS = 14

DOWN = "{0} is down. See why: stopgap logs {0}; then end it, and serve it again: stopgap stop {0}"
UNFINISHED = "{0} was not served to the end. Unless its serve is still at work: stopgap stop {0}"


@dataclass(frozen=True)
class Remains:
    """What has a name but is no deployment, or none that can be read; and what to do about it."""

    name: str
    condition: Condition
    remedy: str


Seen = Union[Health, Remains]


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, or with NAME one object.")
def status(name: str | None, as_json: bool) -> None:
    """Show what is served, how it is, and its sunset."""
    today = date.today()
    found = find(Store.default(), name)
    if as_json:
        objects = [as_object(seen, today) for seen in found]
        print_json(objects[0] if name else objects)
    elif found:
        print_table(COLUMNS, [as_row(seen, today) for seen in found])
        warn_of_sunsets([seen for seen in found if isinstance(seen, Health)], today)
        advise(found)
    else:
        click.echo("Nothing is being served. Start with: stopgap serve MODEL --name NAME", err=True)


def find(store: Store, name: str | None) -> list[Seen]:
    """All that there is, or what is of that name.

    Raises:
        DeploymentError: There is nothing of that name, or nothing that can be read.
    """
    if not (store.deployments() or store.has_fronts()):  # then there is nothing to ask an engine about
        return [look(store.deployment(name), engines.chosen(), store)] if name else damaged(store)
    engine = engines.chosen()
    left = [Remains(each, Condition.UNFINISHED, UNFINISHED.format(each)) for each in unfinished(engine, store)]
    if name:
        return [each for each in left if each.name == name] or [look(store.deployment(name), engine, store)]
    return [*(look(deployment, engine, store) for deployment in store.deployments()), *damaged(store), *left]


def damaged(store: Store) -> list[Seen]:
    return [Remains(each.name, Condition.DAMAGED, f"{each.problem} {each.remedy}") for each in store.damaged()]


def as_object(seen: Seen, today: date) -> dict[str, Any]:
    if isinstance(seen, Remains):
        return {"name": seen.name, "state": seen.condition.value}
    memory = None if seen.memory_mib is None else round(seen.memory_mib, 1)
    return {**described(seen.deployment, today), "state": seen.condition.value, "memory_mib": memory}


def as_row(seen: Seen, today: date) -> tuple[str | Text, ...]:
    state = Text(seen.condition.value, style=COLOURS[seen.condition])
    if isinstance(seen, Remains):
        return (seen.name, state, *("-" for _ in COLUMNS[2:]))
    deployment, memory = seen.deployment, seen.memory_mib
    return (
        deployment.name,
        state,
        deployment.address,
        str(deployment.workers),
        "-" if memory is None else f"{memory:.0f} of {deployment.limits.memory_mib} MiB",
        f"{deployment.engine}/{deployment.isolation}",
        Text(countdown(deployment.until, today), style=sunset_style(deployment.until, today)),
        str(deployment.version),
    )


def sunset_style(until: date, today: date) -> str:
    days = days_left(until, today)
    if days < 0:
        return "bold white on red"
    return "yellow" if days <= SOON_DAYS else ""


def advise(found: list[Seen]) -> None:
    """What to do about all that needs somebody, below the table; to stderr, like the next."""
    for seen in found:
        if isinstance(seen, Remains):
            click.echo(printable(seen.remedy), err=True)
        elif seen.condition is Condition.DOWN:
            click.echo(DOWN.format(seen.deployment.name), err=True)


def warn_of_sunsets(healths: list[Health], today: date) -> None:
    """To stderr, so that whoever pipes the table away still sees it."""
    for health in healths:
        name, until = health.deployment.name, health.deployment.until
        if days_left(until, today) < 0:
            warning = click.style(f"warning: {name} should have been gone since {until}.", fg="red", bold=True)
            click.echo(f"{warning} Retire it: stopgap stop {name}", err=True)
