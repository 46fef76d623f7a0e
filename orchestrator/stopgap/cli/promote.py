"""`stopgap promote`: a candidate takes a legacy model's place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stopgap.cli.arguments import duration, reason
from stopgap.cli.output import print_json, reporter
from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError
from stopgap.handover import promotion
from stopgap.handover.evidence import read_evidence
from stopgap.handover.guard import Watched
from stopgap.handover.promotion import Promoted, Promotion
from stopgap.observer.report import result_now
from stopgap.printable import printable
from stopgap.recovery import recover
from stopgap.store import Store

__all__ = ["promote"]


@click.command()
@click.argument("name")
@click.option("--candidate", default="", metavar="NAME", help="The deployment that takes over.  [default: as before]")
@click.option(
    "--evidence",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What stopgap compare --out or shadow --show --out has written: PASS, of these two models.",
)
@click.option("--force", is_flag=True, help="In place of evidence.")
@click.option("--reason", default="", callback=reason, metavar="TEXT", help="Why it is forced; written down.")
@click.option(
    "--peak-rate",
    "peak_per_s",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    metavar="N",
    help="What NAME is asked at most, in requests a second.  [default: as its front counts]",
)
@click.option(
    "--requests",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What the candidate is asked with at that rate: any --data of compare.  [default: NAME's warm-up file]",
)
@click.option(
    "--watch",
    "watch_s",
    callback=duration,
    default="1m",
    show_default=True,
    metavar="TIME",
    help="For how long errors and times are looked at, and it is taken back by itself; 0 for none.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def promote(
    *,
    name: str,
    candidate: str,
    evidence: Path | None,
    force: bool,
    reason: str,
    peak_per_s: float | None,
    requests: Path | None,
    watch_s: float,
    as_json: bool,
) -> None:
    """Have all callers of NAME answered by its candidate.

    It needs evidence that the candidate can take over, and the candidate to be up, to fit, and to carry what NAME is
    asked. The sandbox of NAME stays up: stopgap rollback NAME goes back, stopgap retire NAME ends it.
    """
    if force == (evidence is not None):
        raise click.UsageError("Show evidence (--evidence FILE), or say why it must be without: --force --reason TEXT")
    if force and not reason:
        raise click.UsageError("--force needs a --reason.")
    wanted = Promotion(candidate, read_evidence(evidence) if evidence else None, reason, peak_per_s, requests, watch_s)
    store = Store.default()
    engines = Engines(store.folder)
    with reporter() as report:
        recover(engines, store, report.say)
        done = promotion.promote(
            name,
            wanted,
            lambda legacy, candidate: result_now(legacy, candidate, store),
            engines,
            store,
            say=report.say,
            progress=report.progress,
        )
    if as_json:
        print_json(described(done))
    if done.watched and done.watched.trouble:
        now = "Rolled back" if done.back else "Somebody has changed its stage meanwhile"
        raise DeploymentError(f"{now}: {done.watched.trouble}.", f"See what both were asked: stopgap status {name}")
    if not as_json:
        show(done)


def described(done: Promoted) -> dict[str, Any]:
    seen = done.watched
    last = (done.back or done.change).after
    return {
        "name": last.name,
        "stage": last.stage.value,
        "candidate": last.candidate.name if last.candidate else None,
        "swap_s": round(done.change.took_s, 4),
        "capacity": done.capacity,
        "watched": None if seen is None else watched_object(seen),
        "trouble": seen.trouble if seen else "",
    }


def watched_object(seen: Watched) -> dict[str, int]:
    return {"answered": seen.answered, "failed": seen.failed, "slow": seen.slow, "compared": seen.compared}


def show(done: Promoted) -> None:
    record, seen = done.change.after, done.watched
    by = record.candidate.name if record.candidate else ""
    click.echo(printable(f"{record.name} is answered by {by}"))
    if seen and not seen.answered:
        click.echo("Nobody asked meanwhile, so nothing was watched. Longer: stopgap promote --watch TIME", err=True)
    elif seen:
        compared = f"; {seen.compared} units were compared" if seen.compared else ""
        click.echo(
            f"watched: {seen.answered} answers, {seen.failed} errors, {seen.slow} much slower than before{compared}"
        )
    click.echo(f"\nBack: stopgap rollback {record.name}. When nobody needs it any more: stopgap retire {record.name}")
