"""`stopgap compare`: whether a candidate can take a legacy model's place, on data that both are asked with."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import click
from rich.text import Text

from stopgap.api.opening import Source
from stopgap.api.sunset_notice import SunsetWarning
from stopgap.asking.asking import Manner
from stopgap.asking.data.opening import FORMATS
from stopgap.asking.data.reading import Reading
from stopgap.asking.data.tf_examples import AUTO as AS_IT_BEGINS
from stopgap.asking.data.tf_examples import PARSED, SERIALISED
from stopgap.asking.finding import SAMPLE, proposed
from stopgap.asking.keeping import kept_cases, redaction_of
from stopgap.asking.meeting import Meeting, Wanted, meeting, opened_sides
from stopgap.asking.sides import party_of
from stopgap.asking.translation import MapTranslation
from stopgap.cli.arguments import timeout
from stopgap.cli.output import Reporter, print_json, print_table, reporter
from stopgap.cli.self_test_table import self_test_object, show_self_test
from stopgap.client.signatures import DEFAULT_SIGNATURE
from stopgap.comparison.closeness import Floor
from stopgap.comparison.document import DataFile, Document, KeptCase
from stopgap.comparison.hints import hints
from stopgap.comparison.judge import Judge
from stopgap.comparison.plan import CONVERSION, RETRAINED, Condition, Plan, read_plan
from stopgap.comparison.result import Finding, Result
from stopgap.comparison.self_test import DRAWS, self_test
from stopgap.comparison.units import first_of_each
from stopgap.engines.choice import AUTO, CHOICES
from stopgap.journal.redaction import Redaction
from stopgap.printable import printable
from stopgap.report.files import check_writable, write_whole
from stopgap.report.needed import check_installed

__all__ = ["compare"]

EXIT_CODES: Final = {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4}
COLOURS: Final = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow", "SHOWN": ""}
NOISE_ROWS: Final = 256
MEASURES: Final = {CONVERSION: "close", RETRAINED: "top_1"}


@click.command()
@click.argument("legacy")
@click.argument("candidate")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What both are asked with; or a recording's folder.",
)
@click.option(
    "--plan", "plan_file", type=click.Path(path_type=Path), metavar="FILE", help="What is compared, by which margins."
)
@click.option(
    "--mode", type=click.Choice([CONVERSION, RETRAINED]), help="In place of a plan: the same weights, or new."
)
@click.option("--measure", metavar="NAME", help="With --mode.  [default: close for a conversion, else top_1]")
@click.option("--output", default="", metavar="NAME", help="With --mode: the legacy model's output that is measured.")
@click.option("--margin", type=float, metavar="M", help="With --mode. Without a margin nothing passes.")
@click.option(
    "--independent", is_flag=True, help="Claim that the data's units were drawn independently from what is to come."
)
@click.option("--signature", default=DEFAULT_SIGNATURE, show_default=True, metavar="NAME", help="The legacy model's.")
@click.option("--key", default="", metavar="NAME", help="The field that says what a request is a unit of.")
@click.option("--extra", "extras", multiple=True, metavar="NAME", help="A field that is no input. May be repeated.")
@click.option("--rows", type=click.IntRange(min=1), default=1, show_default=True, help="How many rows a request has.")
@click.option("--whole", is_flag=True, help="The whole file is one request.")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="What the data are.  [default: as they begin]")
@click.option(
    "--examples",
    type=click.Choice([AS_IT_BEGINS, PARSED, SERIALISED]),
    default=AS_IT_BEGINS,
    show_default=True,
    help="tf.Examples by the inputs' names, or serialised into the string input.",
)
@click.option("--in-flight", type=click.IntRange(1, 256), default=Manner.in_flight, show_default=True, metavar="N",
    help="How many requests at once; with more than one, a latency includes the wait for the others.",
)  # fmt: skip
@click.option(
    "--timeout", "timeout_s", type=float, callback=timeout, default=Manner.timeout_s, show_default=True, metavar="S",
    help="Each request's deadline.",
)  # fmt: skip
@click.option("--most", type=click.IntRange(min=1), metavar="N", help="Ask the first N requests alone.")
@click.option("--seed", type=int, default=Manner.seed, show_default=True, help="Decides whom a request asks first.")
@click.option("--noise-rows", type=click.IntRange(min=0), default=NOISE_ROWS, show_default=True, metavar="N",
    help="For a conversion: how many rows measure the legacy model's noise.",
)  # fmt: skip
@click.option("--legacy-bundle", default="", metavar="NAME", help="Which TensorFlow serves a folder.")
@click.option("--candidate-bundle", default="", metavar="NAME", help="Likewise.")
@click.option("--engine", type=click.Choice(CHOICES), default=AUTO, show_default=True, help="What contains a folder.")
@click.option("--restart", is_flag=True, help="Ask everything anew.")
@click.option(
    "--find-map", is_flag=True, help="Propose the plan's [map] from a sample, as TOML, in place of comparing."
)
@click.option("--sample", type=click.IntRange(min=1), default=SAMPLE, show_default=True, metavar="N",
    help="With --find-map: how many requests are asked.",
)  # fmt: skip
@click.option("--self-test", is_flag=True,
    help="Say which damage to the legacy model's own answers the margins notice, in place of a verdict.",
)  # fmt: skip
@click.option("--draws", type=click.IntRange(min=10), default=DRAWS, show_default=True, metavar="N",
    help="With --self-test: how often each damage is judged.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the result to a file, as JSON; with --find-map as TOML.",
)
@click.option(
    "--report", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write it as one HTML file for people."
)
@click.option(
    "--keep-inputs", is_flag=True, help="Keep what the worst cases were asked and answered, redacted as the plan says."
)
@click.pass_context
def compare(context: click.Context, /, **options: Any) -> None:
    """Whether CANDIDATE can take the place of LEGACY.

    Each is a model's folder, which is served for as long as it is asked; the name of a deployment; HOST:PORT/MODEL; or
    outputs recorded before, in an .npz with the data's rows or a TFRecord of PredictionLogs.

    The data are an .npz of inputs, JSON lines, or a TFRecord of tf.Examples or of PredictionLogs: a warm-up file, say.

    Ctrl-C loses nothing: the same command goes on where it ended.

    Exit codes: 0 PASS, 3 FAIL, 4 INCONCLUSIVE, 1 an error, 2 wrong usage; 0 with --find-map and --self-test.
    """
    if options["find_map"] and options["self_test"]:
        raise click.UsageError("Leave one of --find-map and --self-test out.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SunsetWarning)  # what is compared is on its way out
        if options["find_map"]:
            find_map(options)
        elif options["self_test"]:
            try_margins(options)
        else:
            context.exit(EXIT_CODES[judge(options)])


def judge(options: dict[str, Any]) -> str:
    """The comparison itself; gives its outcome."""
    plan = plan_of(options)
    redaction = checked(options, plan)
    with meeting(wanted_in(options, plan), MapTranslation(plan.mapping)) as met, reporter() as report:
        met.check(plan)
        tell(met, report)
        plan = replace(plan, candidates=max(plan.candidates, met.candidates))
        noise = noise_of(met, plan, options["noise_rows"], report)
        result = judged(met, plan, noise, report)
        kept = tuple(kept_of(met, plan, result, redaction)) if options["keep_inputs"] else ()
    redacted = (met.data.redacted,) if met.data.redacted else ()
    result = replace(result, notices=(*result.notices, *hints(result), *redacted))
    document = document_of(met, plan, result, noise, kept)
    if options["page"] is not None:
        from stopgap.report.page import page_of  # noqa: PLC0415 - an extra

        write_whole(options["page"], page_of(document), private=bool(kept))
    give(options, document.as_json(), lambda: show(met, result), private=bool(kept))
    return result.outcome


def find_map(options: dict[str, Any]) -> None:
    """Keeps nothing, and needs no plan; of one, what it says of the data is read, and its map left aside."""
    plan = Plan(CONVERSION) if options["plan_file"] is None else read_plan(options["plan_file"])
    wanted = wanted_in(options, plan)
    with opened_sides(wanted) as (legacy, candidate, data), reporter() as report:
        found = proposed(data, legacy, candidate, wanted.manner, sample=options["sample"], progress=report.progress)
    text = found.toml()
    if options["out"] is not None and not options["as_json"]:
        write_whole(options["out"], text, private=False)
    give(options, found.as_json(), lambda: click.echo(text, nl=False))


def try_margins(options: dict[str, Any]) -> None:
    """Over the same answers as the comparison, which then are kept for it."""
    plan = plan_of(options)
    with meeting(wanted_in(options, plan), MapTranslation(plan.mapping)) as met, reporter() as report:
        met.check(plan)
        tell(met, report)
        plan = replace(plan, candidates=max(plan.candidates, met.candidates))
        noise = noise_of(met, plan, options["noise_rows"], report)
        pairs = list(first_of_each(met.pairs(report.progress)))
        floor = noise.largest if noise else {}
        found = self_test(plan, pairs, floor, whole_file=True, draws=options["draws"], progress=report.progress)
    give(options, {**self_test_object(found), **bound_to(met)}, lambda: show_self_test(found))


def give(options: dict[str, Any], written: dict[str, Any], show: Callable[[], None], *, private: bool = False) -> None:
    """As JSON or for a person, and into a file, where one is wanted."""
    if options["out"] is not None and (options["as_json"] or not options["find_map"]):
        write_whole(options["out"], json.dumps(written, indent=2, allow_nan=False) + "\n", private=private)
    if options["as_json"]:
        print_json(written)
    else:
        show()


def plan_of(options: dict[str, Any]) -> Plan:
    """The file's, or one condition from the command line."""
    typed = [name for name in ("mode", "measure", "output", "margin", "independent") if options[name]]
    if options["plan_file"] is not None:
        if typed:
            raise click.UsageError(f"The plan says all of that already: leave out --{', --'.join(typed)}.")
        return read_plan(options["plan_file"])
    if options["mode"] is None:
        raise click.UsageError("State what is compared: --mode conversion or retrained, or --plan FILE.")
    condition = Condition(options["measure"] or MEASURES[options["mode"]], options["output"], options["margin"])
    return Plan(options["mode"], (condition,), independent=options["independent"])


def wanted_in(options: dict[str, Any], plan: Plan) -> Wanted:
    extras = {*options["extras"], *plan.slices, *([plan.label] if plan.label else [])}
    reading = Reading(
        signature=options["signature"],
        key=options["key"],
        extras=frozenset(extras),
        rows=None if options["whole"] else options["rows"],
        examples=options["examples"],
        extras_are_named=True,
    )
    manner = Manner(options["in_flight"], options["timeout_s"], options["seed"], most=options["most"])
    return Wanted(
        source_of("legacy", options),
        source_of("candidate", options),
        options["data"],
        options["format_"] or "",
        reading,
        manner,
        options["restart"],
    )


def source_of(side: str, options: dict[str, Any]) -> Source:
    return Source(options[side], bundle=options[f"{side}_bundle"], engine=options["engine"])


def tell(met: Meeting, report: Reporter) -> None:
    """What deserves a line before it begins."""
    if met.begun_anew:
        report.say(f"Begun anew, since this has changed: {', '.join(met.begun_anew)}.")
    elif met.answered and met.is_answered:
        report.say(f"{met.answered} requests were answered before: nobody is asked.")
    elif met.answered:
        report.say(f"{met.answered} requests were answered before: it goes on with the next.")
    if met.candidates > 1:
        report.say(f"{met.candidates} candidates were tried on these data: alpha is divided by that.")


def checked(options: dict[str, Any], plan: Plan) -> Redaction:
    """What would be in vain to find out only after everything was asked."""
    for file in filter(None, (options["out"], options["page"])):
        check_writable(file)
    if options["page"] is not None:
        check_installed()
    if options["keep_inputs"] and options["out"] is None and options["page"] is None and not options["as_json"]:
        raise click.UsageError("State where inputs are to be kept: --report FILE, --out FILE or --json.")
    return redaction_of(plan)


def noise_of(met: Meeting, plan: Plan, rows: int, report: Reporter) -> Floor | None:
    return met.noise(rows, report.progress) if plan.mode == CONVERSION and rows else None


def judged(met: Meeting, plan: Plan, noise: Floor | None, report: Reporter) -> Result:
    judge = Judge(plan, noise.largest if noise else {}, whole_file=True)
    for pair in met.pairs(report.progress):
        judge.add(pair)
    return judge.result()


def kept_of(met: Meeting, plan: Plan, result: Result, redaction: Redaction) -> Iterator[KeptCase]:
    numbers = {case.number for finding in result.conditions for case in finding.worst}
    return kept_cases(met.given(numbers), plan, redaction)


def document_of(met: Meeting, plan: Plan, result: Result, noise: Floor | None, kept: tuple[KeptCase, ...]) -> Document:
    return Document(
        result,
        party_of(met.legacy),
        party_of(met.candidate),
        data_of(met),
        plan.stated,
        noise,
        kept,
        tuple(str(rule) for rule in redaction_of(plan).rules),
        {"at": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC", "stopgap": metadata.version("stopgap")},
    )


def bound_to(met: Meeting) -> dict[str, Any]:
    """What a self-test is of."""
    return {
        "legacy": asdict(party_of(met.legacy)),
        "candidate": asdict(party_of(met.candidate)),
        "data": asdict(data_of(met)),
    }


def data_of(met: Meeting) -> DataFile:
    return DataFile(str(met.data.file), met.data.format, met.data.digest)


def show(met: Meeting, result: Result) -> None:
    click.echo(click.style(result.outcome, bold=True) + (f": {printable(result.reason)}" if result.reason else ""))
    print_table(
        ("outcome", "condition", "margin", "estimate", "from", "to", "units", "more"),
        [row_of(finding) for finding in result.conditions],
    )
    click.echo(f"{result.requests} requests, {result.units} units; answered: {counts(result.parity)}")
    for name, latency in ((name, latency) for name, latency in result.latency.items() if latency.count):
        click.echo(f"latency of {name}: median {latency.q50 * 1000:.2f} ms, 99 % {latency.q99 * 1000:.2f} ms")
    for name, identity in (("legacy", met.legacy), ("candidate", met.candidate)):
        click.echo(printable(f"{name}: {identity.told} ({identity.pin})"))
    for notice in result.notices:
        click.echo(printable(notice), err=True)


def row_of(finding: Finding) -> tuple[str | Text, ...]:
    return (
        Text(finding.outcome, style=COLOURS.get(finding.outcome, "")),
        finding.name,
        "-" if finding.margin is None else f"{finding.margin:g}",
        *(f"{value:.6g}" for value in (finding.estimate, finding.lower, finding.upper)),
        str(finding.units),
        "-" if finding.more_units is None else str(finding.more_units),
    )


def counts(parity: Any) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(parity.items())) or "nothing"
