"""`stopgap shadow`: a sample of a model's own traffic is shown to its candidate too, and the answers are compared."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from stopgap import shadowing, shadows
from stopgap.api.targets import Folder, target_of
from stopgap.cli.arguments import deployment_name, is_typed, sample
from stopgap.cli.compare import COLOURS, EXIT_CODES, MEASURES, counts
from stopgap.cli.output import print_json, print_table, reporter
from stopgap.cli.pacing import paced
from stopgap.comparison.plan import CONVERSION, RETRAINED, Plan, read_tables
from stopgap.engines.choice import Engines
from stopgap.errors import ShadowError
from stopgap.observer.evidence import document_of
from stopgap.observer.report import Report, report
from stopgap.printable import printable
from stopgap.recovery import recover
from stopgap.report.files import write_whole
from stopgap.report.needed import check_installed
from stopgap.shadowing import WantedShadow
from stopgap.shadows import Shadow
from stopgap.store import Store

__all__ = ["shadow"]

OF_A_BEGINNING = ("candidate", "plan_file", "mode", "measure", "output", "margin", "candidate_bundle")
HOW = ("in_flight", "queue", "largest_mib", "deadline_s")


@click.command()
@click.argument("name", callback=deployment_name)
@click.option("--candidate", metavar="CANDIDATE", help="A folder, a deployment's name, or HOST:PORT/MODEL.")
@click.option("--sample", default="10%", show_default=True, callback=sample, metavar="SHARE", help="Of predictions.")
@click.option(
    "--plan", "plan_file", type=click.Path(path_type=Path), metavar="FILE", help="What is compared, by which margins."
)
@click.option(
    "--mode", type=click.Choice([CONVERSION, RETRAINED]), help="In place of a plan: the same weights, or new."
)
@click.option("--measure", metavar="NAME", help="With --mode.  [default: close for a conversion, else top_1]")
@click.option("--output", default="", metavar="NAME", help="With --mode: the legacy model's output that is measured.")
@click.option("--margin", type=float, metavar="M", help="With --mode. Without a margin nothing passes.")
@click.option("--candidate-bundle", default="", metavar="NAME", help="Which TensorFlow serves a folder.")
@paced(Shadow)
@click.option("--show", is_flag=True, help="What is known so far; the exit code says the verdict.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
    help="With --show: write it down as JSON, as evidence for stopgap promote.",
)  # fmt: skip
@click.option("--report", "page", type=click.Path(path_type=Path), metavar="FILE",
    help="With --show: write it as one HTML file for people.",
)  # fmt: skip
@click.option("--stop", "ends", is_flag=True, help="End it; what was found stays.")
@click.option("--forget", is_flag=True, help="With --stop: what was found goes too.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_context
def shadow(context: click.Context, /, **options: Any) -> None:
    """Show a sample of what users ask NAME to CANDIDATE too, and compare the answers.

    The front sends copies to an observer, which asks both models; no user waits for it, and nothing of a user's
    credentials reaches either. A folder is served as NAME-candidate, behind the same front, for as long as this lasts.

    Without --candidate the shadow that there is gets its observer back where that has died, and the sample as it was
    given. --show tells the verdict so far.

    Exit codes of --show: 0 PASS, 3 FAIL, 4 INCONCLUSIVE, 1 an error, 2 wrong usage.
    """
    check_usage(options)
    store = Store.default()
    if options["show"]:
        seen = report(options["name"], store)
        write_down(seen, options["out"], options["page"])
        print_json(seen.as_json()) if options["as_json"] else show(seen)
        context.exit(EXIT_CODES[seen.outcome])
    engines = Engines(store.folder)
    if options["ends"]:
        end(options["name"], engines, store, forget=options["forget"])
        return
    wanted = wanted_in(context, options, store)
    with reporter() as said:
        recover(engines, store, said.say)
        begun = shadowing.begin(wanted, engines, store, said.say, said.progress)
    seen = report(begun.name, store)
    if options["as_json"]:
        print_json(seen.as_json())
    else:
        print_begun(begun, seen)


def check_usage(options: dict[str, Any]) -> None:
    typed = [name for name in OF_A_BEGINNING if options[name]]
    if options["show"] and options["ends"]:
        raise click.UsageError("--show or --stop, one of them.")
    if (options["out"] is not None or options["page"] is not None) and not options["show"]:
        raise click.UsageError("--out and --report go with --show.")
    if options["forget"] and not options["ends"]:
        raise click.UsageError("--forget goes with --stop.")
    if (options["show"] or options["ends"]) and typed:
        raise click.UsageError("--show and --stop take nothing that says how to begin.")
    if options["plan_file"] is not None and any(options[name] for name in ("mode", "measure", "output", "margin")):
        raise click.UsageError("The plan says all of that already: leave out --mode and what goes with it.")


def wanted_in(context: click.Context, options: dict[str, Any], store: Store) -> WantedShadow:
    """What was typed; where nothing but a sample was, what there is."""
    name = options["name"]
    before = shadows.find(name, store)
    store.deployment(name)
    if options["candidate"] is None:
        return as_before(context, options, before)
    tables = plan_tables(options)
    Plan.of(**tables)  # so that what cannot be is told before anything starts
    target = target_of(options["candidate"], None, store)
    folder = target.path.absolute() if isinstance(target, Folder) else None
    typed = options["candidate"] if folder is None else os.fspath(folder)
    how = {key: options[key] for key in HOW}
    return WantedShadow(name, typed, folder, tables, options["sample"], options["candidate_bundle"], how)


def as_before(context: click.Context, options: dict[str, Any], before: Shadow | None) -> WantedShadow:
    if before is None:
        raise click.UsageError(f"{options['name']} has no shadow: say whom to ask beside it, --candidate CANDIDATE.")
    had = {"sample": before.per_million, **{key: getattr(before, key) for key in HOW}}
    wanted = {key: options[key] if is_typed(context, key) else value for key, value in had.items()}
    sample = wanted.pop("sample")
    folder = Path(before.typed) if before.served_for_it else None
    return WantedShadow(before.name, before.typed, folder, before.plan, sample, "", wanted)


def plan_tables(options: dict[str, Any]) -> dict[str, Any]:
    if options["plan_file"] is not None:
        return read_tables(options["plan_file"])
    if options["mode"] is None:
        raise click.UsageError("State what is compared: --mode conversion or retrained, or --plan FILE.")
    measure = options["measure"] or MEASURES[options["mode"]]
    condition: dict[str, Any] = {"measure": measure, "output": options["output"]}
    if options["margin"] is not None:
        condition["margin"] = options["margin"]
    return {"mode": options["mode"], "conditions": [condition]}


def end(name: str, engines: Engines, store: Store, *, forget: bool) -> None:
    was_there = shadowing.end(name, engines, store)
    if forget:
        shadows.forget(name, store)
    if not was_there and not forget:
        raise ShadowError(f"There is no shadow of {name}.")
    click.echo(f"the shadow of {name} has ended" if was_there else f"what was found of {name} is forgotten")


def print_begun(begun: Shadow, seen: Report) -> None:
    lines = {
        "shadow": f"{begun.per_million / 1e4:g} % of what users ask {begun.name} over gRPC",
        "candidate": begun.candidate + (f", served from {begun.typed}" if begun.served_for_it else ""),
    }
    for what, value in lines.items():
        click.echo(printable(f"{what:<11}{value}", longest=2000))
    click.echo(f"\nNext: stopgap shadow {begun.name} --show")
    click.echo("REST and other methods than Predict are not mirrored.", err=True)
    if seen.experiment is not None and seen.totals.joined:
        click.echo(f"It goes on where it ended: {seen.totals.joined} requests were compared before.", err=True)
    print_warnings([text for text in seen.warnings if seen.totals.predictions])


def write_down(seen: Report, out: Path | None, page: Path | None) -> None:
    """What was found so far, as the files that a comparison leaves."""
    if page is not None:
        check_installed()
    if out is not None or page is not None:
        document = document_of(seen)
    if out is not None:
        write_whole(out, document.as_text(), private=False)
    if page is not None:
        from stopgap.report.page import page_of  # noqa: PLC0415 - an extra

        write_whole(page, page_of(document), private=False)


def show(seen: Report) -> None:
    """The verdict on top, then what is behind it."""
    result, totals = seen.result, seen.totals
    reason = result.get("reason") or ("" if result else "nothing was compared yet")
    click.echo(click.style(seen.outcome, bold=True) + (f": {printable(reason, 2000)}" if reason else ""))
    if result:
        columns = ("outcome", "condition", "margin", "estimate", "from", "to", "units", "more")
        print_table(columns, [row_of(finding) for finding in result["conditions"]])
        click.echo(f"{result['requests']} requests, {result['units']} units; answered: {counts(result['parity'])}")
        for name, latency in result["latency"].items():
            if latency["count"]:
                click.echo(f"latency of {name}: median {ms(latency['q50'])}, 99 % {ms(latency['q99'])}")
    click.echo(
        f"of {totals.predictions} predictions {totals.sent} were mirrored; {totals.seen} seen, "
        f"{totals.joined} compared, {totals.waiting} waiting, {sum(totals.dropped.values())} dropped"
    )
    if seen.experiment is not None:
        for name in ("legacy", "candidate"):
            told = seen.experiment.told[name]
            click.echo(printable(f"{name}: {told['told']} ({told['digest']})", 2000))
        if seen.experiment.result_s is not None:
            click.echo(f"as of {time.time() - seen.experiment.result_s:.0f} s ago")
    print_warnings([*result.get("notices", ()), *seen.warnings])


def print_warnings(texts: list[str]) -> None:
    for text in texts:
        click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {printable(text, 2000)}", err=True)


def ms(seconds: Any) -> str:
    return "-" if not isinstance(seconds, float) else f"{seconds * 1000:.2f} ms"


def row_of(finding: dict[str, Any]) -> tuple[str | Text, ...]:
    numbers = (finding[key] for key in ("estimate", "lower", "upper"))
    return (
        Text(finding["outcome"], style=COLOURS.get(finding["outcome"], "")),
        finding["name"],
        "-" if finding["margin"] is None else f"{finding['margin']:g}",
        *("-" if not isinstance(value, (int, float)) else f"{value:.6g}" for value in numbers),
        str(finding["units"]),
        "-" if finding["more_units"] is None else str(finding["more_units"]),
    )
