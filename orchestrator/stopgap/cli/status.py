"""`stopgap status`: what is served, how it is, and how long it may stay."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Union

import click
from rich.text import Text

from stopgap.cli.output import print_json, print_table, warn_of_sunset
from stopgap.cli.serve import described
from stopgap.conditions import Condition, Health, look, unfinished
from stopgap.engines.choice import Engines
from stopgap.errors import LedgerError, StopgapError
from stopgap.ledger.reading import reading_of
from stopgap.ledgers import amiss
from stopgap.legacy_requests import note_all
from stopgap.observer.recorded import recorded
from stopgap.observer.report import report
from stopgap.observing import KINDS
from stopgap.printable import printable
from stopgap.quiet import LegacyTraffic
from stopgap.recordings import RECORDINGS
from stopgap.recovery import bring_up_to_date, recover
from stopgap.shadows import SHADOWS
from stopgap.stages import HandOver, Stage, percent
from stopgap.store import Store
from stopgap.sunset import LONGEST_REASON, SOON_DAYS, Sunset, countdown, days_left, utc_today

__all__ = ["status"]

COLUMNS = ("NAME", "STATE", "STAGE", "GRPC", "REST", "WORKERS", "MEMORY", "ENGINE", "SUNSET", "VERSION")
COLOURS = {
    Condition.SERVING: "green",
    Condition.LOADING: "yellow",
    Condition.BACKING_OFF: "bold red",
    Condition.RESTARTING: "yellow",
    Condition.STOPPING: "yellow",
    Condition.LOST: "bold red",
    Condition.DOWN: "bold red",
    Condition.UNKNOWN: "yellow",
    Condition.UNFINISHED: "yellow",
    Condition.RETIRED: "",
    Condition.DAMAGED: "bold red",
}
# Of a deployment's name, and what was seen beyond its condition.
ADVICE = {
    Condition.DOWN: "{0} is down. See why: stopgap logs {0}; then: stopgap resume {0}, or: stopgap stop {0}",
    Condition.BACKING_OFF: "{0} turns its callers away for a while: its workers died too often. Of what: "
    "stopgap incidents {0}",
    Condition.UNKNOWN: "{0} cannot be looked at: {1} See what is wrong: stopgap doctor",
}
SHADOW_KEYS = ("outcome", "observer", "counts", "warnings")
RECORDING_KEYS = ("recorder", "folder", "records", "bytes", "counts", "warnings")
SHARED = "{} is what programs have loaded from {}; it ends with the last of them."
RETIRED = "{0} is {1}. If nobody asks for it any more: stopgap stop {0}"
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
    today = utc_today()
    store = Store.default()
    engines = Engines(store.folder)
    bring_up_to_date(engines, store, lambda text: click.echo(printable(text), err=True))
    found = find(store, engines, name)
    records = store.hand_overs()
    noted = note_all(store)
    staged = {record.name: record for record in records}
    if as_json:
        objects = [{**as_object(seen, today, staged.get(name_of(seen))), **observers_of(seen, store)} for seen in found]
        print_json(objects[0] if name else objects)
    elif found:
        print_table(COLUMNS, [as_row(seen, today, stage_in(records, name_of(seen))) for seen in found])
        for seen in found:
            if isinstance(seen, Health):
                if name:
                    print_moves(seen.deployment.sunset)
                    print_steps(staged.get(name), noted.get(name))
                warn_of_sunset(seen.deployment.name, seen.deployment.until, today)
        advise(found)
        tell_of_observers(found, store)
        tell_of_splits(records, found, store)
    else:
        click.echo("Nothing is being served. Start with: stopgap serve MODEL --name NAME", err=True)
    if any(seen.condition is Condition.LOST for seen in found) or unobserved(store) or amiss(store):
        recover(engines, store, lambda text: click.echo(printable(text), err=True))


def find(store: Store, engines: Engines, name: str | None) -> list[Seen]:
    """All that there is, or what is of that name.

    Raises:
        DeploymentError: There is nothing of that name, or nothing that can be read.
    """
    if not (store.deployments() or store.has_fronts()):  # then there is nothing to ask an engine about
        return [look(store.deployment(name), engines, store)] if name else damaged(store)
    left = [Remains(each, Condition.UNFINISHED, UNFINISHED.format(each)) for each in unfinished(engines, store)]
    left += retired(store)
    if name:
        return [each for each in left if each.name == name] or [look(store.deployment(name), engines, store)]
    return [*(look(deployment, engines, store) for deployment in store.deployments()), *damaged(store), *left]


def damaged(store: Store) -> list[Seen]:
    return [
        *(Remains(each.name, Condition.DAMAGED, f"{each.problem} {each.remedy}") for each in store.damaged()),
        *(
            Remains(name, Condition.DAMAGED, f"{error.problem} {error.remedy}")
            for name, error in store.hand_overs_damaged()
        ),
    ]


def retired(store: Store) -> list[Remains]:
    """Names whose models are gone, and that others answer to."""
    gone = [each for each in store.hand_overs() if each.stage is Stage.RETIRED and store.find(each.name) is None]
    return [Remains(each.name, Condition.RETIRED, RETIRED.format(each.name, stage_of(each))) for each in gone]


def name_of(seen: Seen) -> str:
    return seen.name if isinstance(seen, Remains) else seen.deployment.name


def stage_in(records: Sequence[HandOver], name: str) -> str:
    """Of a model in whichever hand-over it has a part; `-` for none."""
    for record in records:
        if record.name == name and record.candidate:
            return stage_of(record)
        if record.candidate and record.candidate.name == name:
            return f"candidate of {record.name}"
    return "-"


def stage_of(record: HandOver | None) -> str:
    """`split 10 %, clicks2`, say."""
    if record is None or record.candidate is None:
        return Stage.LEGACY.value
    return f"{record.stage.value}{f' {percent(record.share)}' if record.share else ''}, {record.candidate.name}"


def as_object(seen: Seen, today: date, record: HandOver | None = None) -> dict[str, Any]:
    stage = {
        "stage": record.stage.value if record else Stage.LEGACY.value,
        "candidate": record.candidate.name if record and record.candidate else None,
        "candidate_share": record.share / 100 if record else 0.0,
    }
    if isinstance(seen, Remains):
        return {"name": seen.name, "state": seen.condition.value, **(stage if record else {})}
    memory = None if seen.memory_mib is None else round(seen.memory_mib, 1)
    return {
        **described(seen.deployment, today),
        "limits_by": seen.limits_by,
        "state": seen.condition.value,
        "memory_mib": memory,
        "detail": seen.detail,
        "backing_off_s": round(seen.backing_off_s, 1),
        **stage,
    }


def observers_of(seen: Seen, store: Store) -> dict[str, Any]:
    """What is known of its shadow and its recording, where it has one."""
    name, told = name_of(seen), dict[str, Any]()
    for kind, known in ((SHADOWS, known_of_shadow), (RECORDINGS, known_of_recording)):
        if name not in kind.names(store):
            continue
        try:
            told[kind.word] = known(name, store)
        except StopgapError as error:
            told[kind.word] = {"warnings": [error.problem]}
    return told


def known_of_shadow(name: str, store: Store) -> dict[str, Any]:
    written = report(name, store).as_json()
    return {**(written["shadow"] or {}), **{key: written[key] for key in SHADOW_KEYS}}


def known_of_recording(name: str, store: Store) -> dict[str, Any]:
    written = recorded(name, store).as_json()
    return {**(written["recording"] or {}), **{key: written[key] for key in RECORDING_KEYS}}


def unobserved(store: Store) -> bool:
    return any(not kind.lives(name, store) for kind in KINDS for name in kind.names(store))


def tell_of_observers(found: list[Seen], store: Store) -> None:
    """A line for each, and what is wrong with it, below the table."""
    for seen in found:
        name, told = name_of(seen), observers_of(seen, store)
        for kind, known in told.items():
            if "counts" in known:
                did, dropped = known["counts"]["joined"], sum(known["counts"]["dropped"].values())
                share = f"{kind} of {name}: {100 * known['sample']:g} %"
                if kind == SHADOWS.word:
                    rest = f"to {known['candidate']}; {did} compared, {dropped} dropped, {known['outcome']}"
                else:
                    rest = f"into {known['folder']}; {did} recorded, {dropped} dropped"
                click.echo(printable(f"{share} {rest}", 2000))
            for text in known["warnings"]:
                click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {printable(text, 2000)}", err=True)


def tell_of_splits(records: Sequence[HandOver], found: list[Seen], store: Store) -> None:
    """What is wrong with those whose callers are split."""
    names = {name_of(seen) for seen in found}
    for record in records:
        if record.stage is Stage.SPLIT and record.name in names:
            with contextlib.suppress(LedgerError):
                told = reading_of(record, store)
                for text in told.warnings if told else ():
                    click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {record.name}: {text}", err=True)


def as_row(seen: Seen, today: date, stage: str = "-") -> tuple[str | Text, ...]:
    state = Text(worded(seen), style=COLOURS[seen.condition])
    if isinstance(seen, Remains):
        return (seen.name, state, stage, *("-" for _ in COLUMNS[3:]))
    deployment, memory = seen.deployment, seen.memory_mib
    return (
        deployment.name,
        state,
        stage,
        deployment.address,
        deployment.front.rest,
        str(deployment.workers),
        "-" if memory is None else f"{memory:.0f} of {deployment.limits.memory_mib} MiB",
        f"{deployment.engine}/{deployment.isolation}, {seen.limits_by}",
        Text(countdown(deployment.until, today), style=sunset_style(deployment.until, today)),
        str(deployment.version),
    )


def worded(seen: Seen) -> str:
    """The condition, and where that is known how or why: "lost (its monitor was lost)", "backing off (12 s more)"."""
    word = seen.condition.value
    if isinstance(seen, Health) and seen.condition is Condition.BACKING_OFF:
        return f"{word} ({seen.backing_off_s:.0f} s more)"
    if not isinstance(seen, Health) or seen.condition not in (Condition.DOWN, Condition.LOST) or not seen.detail:
        return word
    return seen.detail if seen.detail.startswith(word) else f"{word} ({seen.detail})"


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
            continue
        if seen.deployment.shared:
            click.echo(printable(SHARED.format(seen.deployment.name, seen.deployment.model)), err=True)
        if seen.condition in ADVICE:
            click.echo(printable(ADVICE[seen.condition].format(seen.deployment.name, seen.detail)), err=True)


def print_steps(record: HandOver | None, noted: LegacyTraffic | None) -> None:
    """How its hand-over has come to where it is."""
    if record and record.history:
        click.echo(f"\nHanded over: {stage_of(record)}")
        for step in record.history:
            share = f" {percent(step.share)}" if step.share else ""
            why = f": {step.reason}" if step.reason else ""
            shown = f", evidence {step.evidence[:12]}…" if step.evidence else ""
            said = f"{step.at:%Y-%m-%d %H:%M}  {step.was.value} → {step.to.value}{share}, by {step.by}{shown}{why}"
            click.echo(printable(said, longest=LONGEST_REASON + 200))
        if noted:
            print_quiet(noted)


def print_quiet(noted: LegacyTraffic) -> None:
    click.echo(
        f"Still asked for by its own version: {noted.asked} times since then, "
        f"the last time before {noted.quiet_since:%Y-%m-%d %H:%M} UTC."
    )


def print_moves(sunset: Sunset) -> None:
    """How its day has come about, where that has a history."""
    if sunset.moves:
        click.echo(f"\nFirst served on {sunset.first_served.date()}, to be gone by {sunset.moves[0].was}; since then:")
    for move in sunset.moves:
        why = f": {move.reason}" if move.reason else ""
        said = f"{move.at.date()}  {move.was} → {move.to}, by {move.by}{why}"
        click.echo(printable(said, longest=LONGEST_REASON + 200))
