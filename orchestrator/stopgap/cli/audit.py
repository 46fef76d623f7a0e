"""`stopgap audit`: whether the walls around a model stand, seen from outside and tried from inside."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

import click
from rich.text import Text

from stopgap.audit.examination import Audit
from stopgap.audit.examination import audit as examine
from stopgap.audit.lines import Kind, Line, Status, broken, unknown
from stopgap.audit.twin import Workplace
from stopgap.cli.output import print_json, print_table, reporter
from stopgap.engines.choice import Engines
from stopgap.printable import printable
from stopgap.store import Store
from stopgap.sunset import countdown, days_left, utc_today

__all__ = ["audit"]

EXIT_BROKEN = 3
EXIT_UNKNOWN = 4
DAYS_OF_A_YEAR = 365.25
COLOURS = {
    Status.HELD: "green",
    Status.BROKEN: "bold red",
    Status.UNKNOWN: "bold yellow",
    Status.NOT_PROMISED: "yellow",
    Status.NOT_TRIED: "yellow",
}
COLUMNS = {
    Kind.SETTING: ("", "SETTING, SEEN FROM OUTSIDE", "FOUND"),
    Kind.EFFECT: ("", "TRIED FROM INSIDE", "REFUSED BY", "ANSWER"),
}


@click.command()
@click.argument("name")
@click.option(
    "--twin/--no-twin", default=True, help="Use up a throw-away twin's memory, processes and disk, or do not."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def audit(context: click.Context, name: str, twin: bool, as_json: bool) -> None:
    """Look from outside at what holds a model's sandbox, and try from inside what must not work.

    Who is served meanwhile is not disturbed. Exit code 0 says that all that is promised is held, 3 that something is
    BROKEN, 4 that nothing is and something UNKNOWN, which was to be looked at and could not be, 1 that there could be
    no audit.
    """
    store = Store.default()
    deployment = store.deployment(name)
    engine = Engines(store.folder).named(deployment.engine)
    with reporter() as report:
        found = examine(deployment, Workplace(engine, store, report.say, report.progress), with_twin=twin)
    today = utc_today()
    if as_json:
        print_json(as_object(found, today))
    else:
        print_lines(found)
        summarise(found, today)
    if broken(found.lines):
        context.exit(EXIT_BROKEN)
    if unknown(found.lines):
        context.exit(EXIT_UNKNOWN)


def as_object(found: Audit, today: date) -> dict[str, Any]:
    deployment = found.deployment
    return {
        "name": deployment.name,
        "engine": deployment.engine,
        "isolation": deployment.isolation,
        "holds": not (broken(found.lines) or unknown(found.lines)),
        "broken": list(broken(found.lines)),
        "unknown": list(unknown(found.lines)),
        "tensorflow": found.tensorflow,
        "released": found.released.isoformat(),
        "age_days": (today - found.released).days,
        "until": deployment.until.isoformat(),
        "days_left": days_left(deployment.until, today),
        "lines": [
            {
                "kind": line.kind.value,
                "name": line.name,
                "what": line.what,
                "promise": line.promise or None,
                "status": line.status.value,
                "by": line.by or None,
                "seen": line.seen,
            }
            for line in found.lines
        ],
    }


def print_lines(found: Audit) -> None:
    for kind in Kind:
        print_table(COLUMNS[kind], [as_row(line) for line in found.lines if line.kind is kind])
        click.echo()


def as_row(line: Line) -> tuple[str | Text, ...]:
    status = Text(line.status.value, style=COLOURS[line.status])
    if line.kind is Kind.SETTING:
        return status, line.what, line.seen
    return status, line.what, line.by or "-", line.seen


def summarise(found: Audit, today: date) -> None:
    counts = Counter(line.status for line in found.lines)
    click.echo(", ".join(f"{counts[status]} {status.value}" for status in Status if counts[status]))
    years = (today - found.released).days / DAYS_OF_A_YEAR
    click.echo(f"TensorFlow {found.tensorflow} was released on {found.released}, {years:.1f} years ago")
    click.echo(f"sunset: {countdown(found.deployment.until, today)}")
    name = found.deployment.name
    for line in found.lines:
        if line.status in {Status.BROKEN, Status.UNKNOWN}:
            promised = line.promise or "the same"
            click.echo(printable(f"{line.status.value}: {line.what}: {line.seen}. Promised: {promised}."), err=True)
    if unknown(found.lines):
        click.echo(f"What is UNKNOWN is not known to hold. Look again later: stopgap audit {name}", err=True)
    if broken(found.lines):
        click.echo(
            f"Do not rely on the walls of {name}. Make them anew: stopgap stop {name}, then serve it again; "
            "what is BROKEN again: stopgap doctor",
            err=True,
        )
