"""`stopgap status`: what is served, how it is, and how long it may stay."""

from __future__ import annotations

from datetime import date
from typing import Any

import click
from rich.text import Text

from stopgap.cli import engine as engines
from stopgap.cli.output import print_json, print_table
from stopgap.cli.serve import described
from stopgap.deployment import Condition, Health, look
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
}
SOON_DAYS = 14


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, or with NAME one object.")
def status(name: str | None, as_json: bool) -> None:
    """Show what is served, how it is, and its sunset."""
    store = Store.default()
    deployments = (store.deployment(name),) if name else store.deployments()
    today = date.today()
    healths: list[Health] = []
    if deployments:
        engine = engines.chosen()
        healths = [look(deployment, engine, store) for deployment in deployments]
    if as_json:
        objects = [as_object(health, today) for health in healths]
        print_json(objects[0] if name else objects)
    elif healths:
        print_table(COLUMNS, [as_row(health, today) for health in healths])
        warn_of_sunsets(healths, today)
    else:
        click.echo("Nothing is being served. Start with: stopgap serve MODEL --name NAME", err=True)


def as_object(health: Health, today: date) -> dict[str, Any]:
    memory = None if health.memory_mib is None else round(health.memory_mib, 1)
    return {**described(health.deployment, today), "state": health.condition.value, "memory_mib": memory}


def as_row(health: Health, today: date) -> tuple[str | Text, ...]:
    deployment, memory = health.deployment, health.memory_mib
    return (
        deployment.name,
        Text(health.condition.value, style=COLOURS[health.condition]),
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


def warn_of_sunsets(healths: list[Health], today: date) -> None:
    """To stderr, so that whoever pipes the table away still sees it."""
    for health in healths:
        name, until = health.deployment.name, health.deployment.until
        if days_left(until, today) < 0:
            warning = click.style(f"warning: {name} should have been gone since {until}.", fg="red", bold=True)
            click.echo(f"{warning} Retire it: stopgap stop {name}", err=True)
