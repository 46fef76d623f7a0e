"""`stopgap split`: a share of a legacy model's callers to its candidate, and what both were asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from stopgap import stages
from stopgap.cli.arguments import caller_key, reason, share
from stopgap.cli.ledger_table import ledger_object, print_ledger
from stopgap.cli.output import print_json, print_table, reporter
from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError
from stopgap.front.arms import Arm
from stopgap.handover import splitting
from stopgap.handover.splitting import Arms, Asked
from stopgap.handover.units import check_ratio
from stopgap.ledger.ratio import Ratio
from stopgap.ledger.report import Report, report_of
from stopgap.recovery import recover
from stopgap.stages import HandOver, Key, Stage, percent
from stopgap.store import Store

__all__ = ["split"]

BOUNDS_MS = (1, 5, 25, 100, 500)


@click.command()
@click.argument("name")
@click.option("--candidate", default="", metavar="NAME", help="The deployment that takes over.  [default: as before]")
@click.option("--candidate-share", "wanted", callback=share, metavar="PERCENT", help="Its callers: 10%, say.")
@click.option(
    "--by",
    "key",
    callback=caller_key,
    metavar="header:NAME|cookie:NAME",
    help="What tells callers apart.  [default: as before]",
)
@click.option(
    "--feedback-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Of the loopback, where programs may say what came of an answer; 0: nowhere.  [default: as before]",
)
@click.option(
    "--reward-margin",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="M",
    help="By so much may the candidate's mean reward be lower. Without it nothing passes.",
)
@click.option("--off", is_flag=True, help="All callers to the legacy model again.")
@click.option("--show", is_flag=True, help="What both were asked so far.")
@click.option(
    "--check",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='Whether the shares are as they should be, by lines of {"key": CALLER, "model": WHO ANSWERED}.',
)
@click.option("--force", is_flag=True, help="Also where the candidate does not understand all requests.")
@click.option("--reason", default="", callback=reason, metavar="TEXT", help="Why; written down.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def split(
    *,
    name: str,
    candidate: str,
    wanted: int | None,
    key: Key | None,
    feedback_port: int | None,
    reward_margin: float | None,
    off: bool,
    show: bool,
    check: Path | None,
    force: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Have a share of the callers of NAME answered by its candidate.

    A caller is whoever a header or a cookie says. The same callers are the candidate's until --off, and when its share
    grows they stay so. Who says nothing is answered by NAME, and counted apart; so is who asks for its own version.

    The candidate is a deployment behind the same front, served with --also-called NAME.

    Each answer has an identity in its header stopgap-request-id. A ledger counts each caller once, and takes in what
    came of the answers: by HTTP with --feedback-port, or from a file by stopgap feedback.
    """
    if sum((wanted is not None, off, show, check is not None)) != 1:
        raise click.UsageError("Say one of --candidate-share, --off, --show and --check.")
    if wanted is None and (feedback_port is not None or reward_margin is not None):
        raise click.UsageError("--feedback-port and --reward-margin go with --candidate-share.")
    if force and not reason:
        raise click.UsageError("--force needs a --reason.")
    store = Store.default()
    engines = Engines(store.folder)
    with reporter() as report:
        recover(engines, store, report.say)
        if off:
            splitting.unsplit(name, reason, engines, store)
        elif wanted is not None:
            asked = Asked(wanted, key, candidate, feedback_port, reward_margin, reason, force)
            splitting.split(name, asked, engines, store)
    record = current(name, store)
    if check is not None:
        tell_ratio(name, check_ratio(record, check), as_json=as_json)
        return
    arms = splitting.counted(record, store, store.deployment(name)) if show else None
    kept = report_of(record, store) if show else None
    if as_json:
        print_json(described(record, arms, kept))
        return
    print_split(record, arms)
    if kept is not None:
        print_ledger(kept, record.reward_margin)


def tell_ratio(name: str, ratio: Ratio, *, as_json: bool) -> None:
    """
    Raises:
        DeploymentError: The share is another than it should be.
    """
    share = None if not ratio.units else round(ratio.share, 6)
    if as_json:
        found = {"name": name, "callers": ratio.units, "candidates": ratio.candidates, "share": share}
        print_json({**found, "mismatch": ratio.mismatch})
    told = f"{ratio.candidates} of {ratio.units} callers were the candidate's"
    if ratio.mismatch:
        raise DeploymentError(
            f"{told}: that is not the share that was asked for.",
            "Trust nothing that was measured in this split: find out who is lost on the way, then split anew.",
        )
    if not as_json:
        click.echo(
            f"{told}: as it should be" if ratio.units else "Nobody told a key meanwhile: there is nothing to say"
        )


def current(name: str, store: Store) -> HandOver:
    record = store.hand_over(name)
    if record is None or record.stage is not Stage.SPLIT:
        if record is not None and record.history:
            return record
        raise DeploymentError(
            f"The callers of {name} are not split.",
            f"Split them: stopgap split {name} --candidate NAME --candidate-share 10% --by header:NAME",
        )
    return record


def described(record: HandOver, arms: Arms | None, kept: Report | None) -> dict[str, Any]:
    told = {
        "name": record.name,
        "stage": record.stage.value,
        "candidate": record.candidate.name if record.candidate else None,
        "share": record.share / 100,
        "by": str(record.key) if record.key else None,
        "feedback_port": record.feedback_port or None,
        "reward_margin": record.reward_margin,
        "since": record.since.isoformat() if record.since else None,
    }
    if arms is None:
        return told
    found = {"candidate": arms.candidate, "legacy": arms.legacy, "keyless": arms.keyless, "pinned": arms.pinned}
    ledger = ledger_object(kept) if kept else None
    return {**told, "arms": {which: arm_object(arm) for which, arm in found.items()}, "ledger": ledger}


def arm_object(arm: Arm) -> dict[str, Any]:
    times = arm.durations
    return {
        "model": arm.model,
        "asked": arm.asked,
        "failed": arm.failed,
        "codes": {" ".join(code): number for code, number in sorted(arm.codes.items())},
        "mean_ms": round(times.sum_s / times.count * 1000, 3) if times.count else None,
        "up_to_s": {str(bound): number for bound, number in times.up_to_s.items()},
    }


def print_split(record: HandOver, arms: Arms | None) -> None:
    if record.stage is Stage.SPLIT and record.candidate:
        click.echo(
            f"{record.name}: {percent(record.share)} of its callers, by {record.key}, are answered by "
            f"{record.candidate.name}"
        )
    else:
        click.echo(f"{record.name}: its callers are not split; it is {stages.told(record)}")
    if arms is None:
        return
    rows: list[tuple[str | Text, ...]] = [
        row("candidate's callers", arms.candidate),
        row("legacy's callers", arms.legacy),
        row("told no key", arms.keyless),
        row("asked for its version", arms.pinned),
    ]
    print_table(("", "MODEL", "ASKED", "FAILED", "MEAN", *(f"<= {bound} ms" for bound in BOUNDS_MS)), rows)


def row(which: str, arm: Arm) -> tuple[str, ...]:
    times = arm.durations
    kept = [times.up_to_s.get(bound / 1000, 0) / times.count if times.count else None for bound in BOUNDS_MS]
    return (
        which,
        arm.model,
        str(arm.asked),
        str(arm.failed),
        f"{times.sum_s / times.count * 1000:.2f} ms" if times.count else "-",
        *("-" if share is None else f"{share:.1%}" for share in kept),
    )
