"""`stopgap incidents`: which workers died of what, and which requests are turned away because of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stopgap.cli.output import print_json, print_table
from stopgap.incidents import Incident, WorkersState, ask_workers_state, release_quarantine
from stopgap.kept_requests import fetch_kept, write_kept
from stopgap.printable import printable
from stopgap.store import Store

__all__ = ["incidents"]

COLUMNS = ("INCIDENT", "WHEN", "WHAT", "WORKER", "CAUSE", "REQUEST")
WORDS = {
    "died": "a worker died",
    "quarantined": "a request in quarantine",
    "state_lost": "a worker died, state lost",
    "backing_off": "backed off",
}


@click.command()
@click.argument("name")
@click.option("--release", is_flag=True, help="Let in again what is in quarantine.")
@click.option(
    "--requests",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the requests that were kept to files there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def incidents(name: str, release: bool, folder: Path | None, as_json: bool) -> None:
    """Show which workers of a model died of what, and how many requests are in quarantine for it.

    A request that ends the worker which runs it alone is not run again for an hour. The request itself is kept only
    where the model was served with --keep-requests: the newest four, of at most 4 MiB each.
    """
    store = Store.default()
    deployment = store.deployment(name)
    released = release_quarantine(deployment, store) if release else None
    kept = write_kept(fetch_kept(deployment, store), folder) if folder else ()
    state = ask_workers_state(deployment, store)
    if as_json:
        written = {"written": [str(path) for path in kept]} if folder else {}
        print_json({**as_object(state, released), **written})
        return
    for path in kept:
        click.echo(f"wrote {printable(str(path))}")
    if released is not None:
        click.echo(f"released {released} from quarantine")
    if state.incidents:
        print_table(COLUMNS, [as_row(incident) for incident in state.incidents])
        last_words(state.incidents[-1])
    else:
        click.echo(f"Nothing has happened to the workers of {name}.", err=True)
    advise(name, state)


def as_object(state: WorkersState, released: int | None) -> dict[str, Any]:
    listed = [
        {
            "incident": each.name,
            "kind": each.kind,
            "at": each.at.isoformat(timespec="seconds"),
            "worker": each.worker,
            "cause": each.cause,
            "fingerprint": each.fingerprint or None,
            "request_bytes": each.request_bytes,
            "lines": list(each.lines),
        }
        for each in state.incidents
    ]
    return {
        "workers": state.workers,
        "backing_off_s": round(state.backing_off_s, 1),
        "quarantined": state.quarantined,
        "counts": dict(state.counts),
        "incidents": listed,
        **({} if released is None else {"released": released}),
    }


def as_row(incident: Incident) -> tuple[str, ...]:
    request = f"{incident.request_bytes} bytes, {incident.fingerprint[:12]}…" if incident.fingerprint else "-"
    when = incident.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return incident.name, when, WORDS.get(incident.kind, incident.kind), incident.worker, incident.cause, request


def last_words(incident: Incident) -> None:
    if incident.lines:
        click.echo(f"The last lines before {incident.name}:", err=True)
        for line in incident.lines:
            click.echo(f"    {printable(line)}", err=True)


def advise(name: str, state: WorkersState) -> None:
    if state.quarantined:
        requests = "1 request is" if state.quarantined == 1 else f"{state.quarantined} requests are"
        click.echo(f"{requests} in quarantine. To let them in again: stopgap incidents {name} --release", err=True)
    if state.backing_off_s:
        click.echo(f"{name} is not run for {state.backing_off_s:.0f} s: its workers died too often.", err=True)
