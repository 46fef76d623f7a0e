"""`stopgap replay`: a recording asked again, of one model or of several; and a warm-up file out of it."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from stopgap.api.opening import Source
from stopgap.api.sunset_notice import SunsetWarning
from stopgap.asking.answers_out import InOrder, answers_out
from stopgap.asking.choosing import CANDIDATE, is_recording, open_side
from stopgap.asking.replaying import SideReport, asked_again
from stopgap.asking.sides import Side
from stopgap.cli.arguments import timeout
from stopgap.cli.output import print_json, print_table, reporter
from stopgap.comparison.tally import quantiles_of
from stopgap.engines.choice import AUTO, CHOICES
from stopgap.journal.reading import Journal, entries_in
from stopgap.journal.replay import AtRate, Pace, ReplayReport, WithTiming
from stopgap.journal.warm_up import MOST_RECORDS, warm_up_file, write_warm_up
from stopgap.printable import printable
from stopgap.store import Store

__all__ = ["replay"]

IN_FLIGHT = 32
TIMEOUT_S = 60.0


@click.command()
@click.argument("recording", type=click.Path(path_type=Path))
@click.option("--to", "targets", multiple=True, metavar="TARGET", help="A model to ask. May be repeated.")
@click.option("--rate", type=float, metavar="N", help="Ask so many requests a second, evenly.")
@click.option("--speed", type=float, metavar="X", help="In place of --rate: as they arrived, X times as fast.")
@click.option(
    "--out", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Write the answers of the TARGET at the same place: rows to an .npz, PredictionLogs to any other file.",
)  # fmt: skip
@click.option("--in-flight", type=click.IntRange(1, 1024), default=IN_FLIGHT, show_default=True, metavar="N",
    help="How many requests at once; what is due beyond is dropped and counted.",
)  # fmt: skip
@click.option(
    "--timeout", "timeout_s", type=float, callback=timeout, default=TIMEOUT_S, show_default=True, metavar="S",
    help="Each request's deadline.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Decides whom a request asks first, and samples.")
@click.option("--bundle", default="", metavar="NAME", help="Which TensorFlow serves a folder.")
@click.option("--engine", type=click.Choice(CHOICES), default=AUTO, show_default=True, help="What contains a folder.")
@click.option("--warm-up", type=click.Path(path_type=Path), metavar="OUT",
    help="Write a sample as TF Serving's warm-up file: to a file, or into a SavedModel's folder.",
)  # fmt: skip
@click.option("--sample", type=click.IntRange(1, MOST_RECORDS), default=MOST_RECORDS, show_default=True, metavar="N",
    help="With --warm-up: how many distinct requests.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what became of the requests as JSON.")
def replay(**options: Any) -> None:
    """Ask again what was recorded in RECORDING: a journal's folder, or a TFRecord of PredictionLogs.

    A TARGET is a model's folder, which is served for as long as it is asked; the name of a deployment; or
    HOST:PORT/MODEL. Several are asked one after the other, in an order that is drawn for each request. Who is slow does
    not slow the asking down.

    What is written can be compared, PredictionLogs with the requests in them: stopgap compare A B --data A
    """
    check(options)
    told: dict[str, Any] = {}
    recording = options["recording"]
    if recording.is_dir() and (redacted := Journal(recording).redacted()):
        told["redacted"] = redacted
    if options["warm_up"] is not None:
        told["warm_up"] = warm_up(options)
    if options["targets"]:
        told.update(asked(options))
    if options["as_json"]:
        print_json(told)
    else:
        show(told)


def check(options: dict[str, Any]) -> None:
    """What is typed, before anything is opened."""
    targets, files = options["targets"], options["files"]
    if not targets and options["warm_up"] is None:
        raise click.UsageError("Say what it is for: --to TARGET, or --warm-up OUT.")
    if targets and (options["rate"] is None) is (options["speed"] is None):
        raise click.UsageError("Say how fast: --rate N, or --speed X.")
    if files and len(files) != len(targets):
        raise click.UsageError(f"Of {len(targets)} targets {len(files)} have an --out: give one to each, or to none.")
    if len({file.absolute() for file in files}) < len(files):
        raise click.UsageError("Two targets cannot have the same --out.")
    for target in targets:
        if is_recording(Source(target)):
            raise click.UsageError(f"{target} is a file, and nothing that can be asked.")


def warm_up(options: dict[str, Any]) -> dict[str, Any]:
    count = write_warm_up(entries_in(options["recording"]), options["warm_up"], options["sample"], options["seed"])
    return {"file": str(warm_up_file(options["warm_up"])), "requests": count}


def asked(options: dict[str, Any]) -> dict[str, Any]:
    pace: Pace = AtRate(options["rate"]) if options["speed"] is None else WithTiming(options["speed"])
    with ExitStack() as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore", SunsetWarning)  # what is asked for its answers is on its way out
        sides = [opened_side(target, options, opened) for target in options["targets"]]
        outs = [InOrder(answers_out(file)) for file in options["files"]]
        for out in outs:
            opened.callback(out.close)
        with reporter() as report:
            found, reports = asked_again(
                options["recording"],
                sides,
                outs,
                pace,
                timeout_s=options["timeout_s"],
                in_flight=options["in_flight"],
                seed=options["seed"],
                progress=report.progress,
            )
        for out in outs:
            out.finish()
        return as_object(found, list(zip(options["targets"], sides, reports)))


def opened_side(target: str, options: dict[str, Any], opened: ExitStack) -> Side:
    side = open_side(Source(target, bundle=options["bundle"], engine=options["engine"]), Store.default(), CANDIDATE)
    opened.callback(side.close)
    return side


def as_object(found: ReplayReport, sides: list[tuple[str, Side, SideReport]]) -> dict[str, Any]:
    return {
        "requests": found.requests,
        "answered": found.answered,
        "late": found.late,
        "dropped": found.dropped,
        "unanswered": found.unanswered,
        "duration_s": found.duration_s,
        "targets": [side_object(target, side, report) for target, side, report in sides],
    }


def side_object(target: str, side: Side, report: SideReport) -> dict[str, Any]:
    latency = quantiles_of(report.latency_s)
    some = latency.count > 0
    return {
        "target": target,
        "told": side.identity().told,
        "digest": side.identity().pin,
        "answered": report.answered,
        "failures": dict(report.failures),
        "latency_s": {"q50": latency.q50, "q99": latency.q99, "most": latency.most} if some else None,
    }


def show(told: dict[str, Any]) -> None:
    if "redacted" in told:
        click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {printable(told['redacted'], 2000)}", err=True)
    if "warm_up" in told:
        click.echo(printable(f"{told['warm_up']['requests']} requests are in {told['warm_up']['file']}"))
    if "targets" not in told:
        return
    rate = told["requests"] / told["duration_s"] if told["duration_s"] else 0.0
    click.echo(f"{told['requests']} requests in {told['duration_s']:.1f} s, {rate:.1f} a second: "
               f"{told['late']} late, {told['dropped']} dropped, {told['unanswered']} unanswered")  # fmt: skip
    print_table(
        ("target", "answered", "failed", "median ms", "99 % ms", "most ms"), [row_of(side) for side in told["targets"]]
    )


def row_of(side: dict[str, Any]) -> tuple[str, ...]:
    failures = ", ".join(f"{number} {code}" for code, number in sorted(side["failures"].items())) or "-"
    latency = side["latency_s"] or {}
    times = (f"{1000 * latency[name]:.2f}" if name in latency else "-" for name in ("q50", "q99", "most"))
    return side["target"], str(side["answered"]), failures, *times
