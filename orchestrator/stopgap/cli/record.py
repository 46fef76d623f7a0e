"""`stopgap record`: a sample of what users ask a model, and what it answers, written down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from stopgap import recording
from stopgap.cli.arguments import deployment_name, is_typed, sample
from stopgap.cli.output import print_json, reporter
from stopgap.cli.pacing import paced
from stopgap.engines.choice import Engines
from stopgap.errors import JournalError, RecordingError
from stopgap.journal.redaction import rule_in
from stopgap.observer.recorded import Recorded, recorded
from stopgap.observer.recording import bounds_of
from stopgap.printable import printable
from stopgap.recordings import RECORDINGS, Recording, default_folder
from stopgap.recovery import recover
from stopgap.store import Store

__all__ = ["record"]

# The options whose names are a `Recording`'s own.
HOW = (
    "per_million",
    "redact",
    "segment_mib",
    "quota_mib",
    "keep_days",
    "in_flight",
    "queue",
    "largest_mib",
    "deadline_s",
)
MIB = 1 << 20


def redaction(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Rules such as `hash:user`, as they say themselves."""
    try:
        return tuple(str(rule_in(text)) for text in texts)
    except JournalError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("name", callback=deployment_name)
@click.option("--sample", "per_million", default="10%", show_default=True, callback=sample, metavar="SHARE",
    help="Of predictions.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Where to; empty, or an earlier recording.  [default: recordings/NAME in the state folder]",
)  # fmt: skip
@click.option("--redact", multiple=True, callback=redaction, metavar="RULE",
    help="What is taken out before anything is written: drop:INPUT, zero:INPUT or hash:INPUT, or of the tf.Examples in "
    "it hash:INPUT/FEATURE, say. May be repeated.",
)  # fmt: skip
@click.option("--segment-mib", type=click.IntRange(1, 4096), default=Recording.segment_mib, show_default=True,
    help="How large a file becomes; one goes as a whole.",
)  # fmt: skip
@click.option("--quota-mib", type=click.IntRange(2), default=Recording.quota_mib, show_default=True,
    help="How much all of it may take; the oldest goes first.",
)  # fmt: skip
@click.option("--keep-days", type=click.FloatRange(0, min_open=True), metavar="D",
    help="How old a request may become.  [default: any age]",
)  # fmt: skip
@paced(Recording)
@click.option("--show", is_flag=True, help="What is recorded so far.")
@click.option("--stop", "ends", is_flag=True, help="End it; what was recorded stays.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_context
def record(context: click.Context, /, **options: Any) -> None:
    """Write down a sample of what users ask NAME, each with NAME's answer, its status and its latency.

    The front sends copies to a recorder, which asks the model once more; no user waits for it, and nothing of a user's
    credentials is written. Inputs and answers are written as they are, but for what a --redact rule takes out.

    What is recorded is a folder for stopgap replay and stopgap compare --data. Of a recording that there is, whatever
    is not given stays as it is.
    """
    check_usage(context, options)
    name, store = options["name"], Store.default()
    engines = Engines(store.folder)
    if options["ends"]:
        if not recording.end(name, engines, store):
            raise RecordingError(f"There is no recording of {name}.")
        click.echo(f"the recording of {name} has ended")
        return
    if not options["show"]:
        wanted = wanted_in(context, options, store)
        with reporter() as said:
            recover(engines, store, said.say)
            recording.begin(wanted, engines, store, said.say, said.progress)
        if not wanted.redact:
            click.echo("No --redact rule: inputs and answers are written as they are.", err=True)
    seen = recorded(name, store)
    print_json(seen.as_json()) if options["as_json"] else show(seen, begun=not options["show"])


def check_usage(context: click.Context, options: dict[str, Any]) -> None:
    if options["show"] and options["ends"]:
        raise click.UsageError("--show or --stop, one of them.")
    if (options["show"] or options["ends"]) and any(is_typed(context, option) for option in ("out", *HOW)):
        raise click.UsageError("--show and --stop take nothing that says how to begin.")


def wanted_in(context: click.Context, options: dict[str, Any], store: Store) -> Recording:
    """What was typed; else what there is; else the defaults."""
    name = options["name"]
    before = RECORDINGS.find(name, store)
    stays = before is not None
    how = {key: getattr(before, key) if stays and not is_typed(context, key) else options[key] for key in HOW}
    if options["out"] is not None:
        out = options["out"].absolute()
    else:
        out = before.folder if before else default_folder(name, store)
    wanted = Recording(name=name, token="", out=os.fspath(out), **how)
    bounds_of(wanted)  # so that what cannot be is told before anything starts
    return wanted


def show(seen: Recorded, *, begun: bool) -> None:
    totals = seen.totals
    lines = []
    if seen.recording is not None:
        wanted = seen.recording
        lines.append(f"recording  {wanted.per_million / 1e4:g} % of what users ask {wanted.name} over gRPC")
        lines += [f"redacted   {rule}" for rule in wanted.redact]
    else:
        lines.append(f"recording  of {seen.name}, ended")
    lines.append(f"folder     {seen.folder}")
    lines.append(f"holds      {seen.held.records} requests, {seen.held.bytes / MIB:.1f} MiB")
    gone = sum(each.records for each in seen.removed)
    if gone:
        lines.append(f"removed    {gone} requests, by quota or age")
    lines.append(
        f"counts     of {totals.predictions} predictions {totals.sent} were mirrored; {totals.seen} seen, "
        f"{totals.joined} recorded, {totals.waiting} waiting, {sum(totals.dropped.values())} dropped"
    )
    for line in lines:
        click.echo(printable(line, 2000))
    if begun:
        click.echo("REST and other methods than Predict are not mirrored.", err=True)
    for text in seen.warnings if not begun or totals.predictions else ():
        click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {printable(text, 2000)}", err=True)
