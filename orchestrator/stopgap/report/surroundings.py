"""What is around the conditions: who answered, how fast, what was lost, the noise, the worst cases, and the digests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from stopgap.comparison.document import Document, KeptCase, Party
from stopgap.comparison.result import Case, Result
from stopgap.report.charts import Mark
from stopgap.report.conditions import distribution_of
from stopgap.report.layout import Block, Card, Cards, Cell, Column, Section, Table, Text
from stopgap.report.numbers import Telling, counted
from stopgap.report.pictures import card_of

__all__ = ["answers", "bound_to", "latency", "noise", "worst"]

BOTH = "both answered"
MOST_WORST, MOST_CARDS = 20, 6


def answers(result: Result) -> Section:
    """Who answered and who failed, with which codes, and what never came to be asked."""
    total = sum(result.parity.values())
    both = result.parity.get(BOTH, 0)
    share = Telling("share")
    columns = (Column(""), Column("Units", number=True), Column("Share", number=True))
    rows = [
        (Cell(name), Cell(f"{number:,}"), Cell(share.told(number / total if total else 0.0)))
        for name, number in sorted(result.parity.items(), key=lambda each: -each[1])
    ]
    blocks: list[Block] = [
        Text(
            f"{counted(result.requests, 'request')} were looked at; {counted(result.units, 'distinct unit')}, of which "
            f"the first observation counts. {result.repeated:,} repeated one, {result.untold:,} came when no more "
            "could be remembered."
        ),
        Table("Who answered", columns, rows),
    ]
    if result.codes:
        blocks.append(counts_table("Codes of failures", "Code", "Units", result.codes))
    if result.dropped:
        told = "Lost before anybody was asked; in every condition each counts as a unit at its worst."
        blocks += [Text(told), counts_table("Dropped", "Reason", "Requests", result.dropped)]
    else:
        blocks.append(Text("No request was dropped."))
    failed = total - both
    heading = (
        f"Both models answered all {total:,} units"
        if not failed
        else f"{counted(failed, 'unit')} of {total:,} {'was' if failed == 1 else 'were'} not answered by both"
    )
    return Section("answers", heading, blocks, "Answers, failures, drops")


def counts_table(caption: str, what: str, of: str, counts: Mapping[str, int]) -> Table:
    rows = [(Cell(name), Cell(f"{number:,}")) for name, number in sorted(counts.items(), key=lambda each: -each[1])]
    return Table(caption, (Column(what), Column(of, number=True)), rows)


def latency(result: Result) -> Section | None:
    """Of both; None where neither is known."""
    series = [(name, name, result.latency[name]) for name in ("legacy", "candidate") if name in result.latency]
    known = [each for each in series if each[2].count]
    if not known:
        return None
    telling = Telling("seconds")
    marks = [Mark(quantiles.q50, f"{name}, median", side) for name, side, quantiles in known]
    blocks = distribution_of("Latency", known, telling, "time to answer", marks)
    told = (
        "From the request to the answer, of units that were answered; as they were asked here, not as users load them."
    )
    return Section("latency", latency_heading(known), [Text(told), *blocks], "Latency")


def latency_heading(known: list[tuple[str, str, Any]]) -> str:
    telling = Telling("seconds")
    if len(known) < 2:
        name, _, quantiles = known[0]
        return f"The {name} takes {telling.told(quantiles.q50)} in the median; of the other nothing is known"
    ours, theirs = known[0][2].q50, known[1][2].q50
    medians = f"{telling.told(theirs)} in the median against {telling.told(ours)}"
    if ours > 0 and abs(theirs / ours - 1) < 0.05:
        return f"Both are about as fast: {medians}"
    return f"The candidate is {'faster' if theirs < ours else 'slower'}: {medians}"


def noise(document: Document) -> Section | None:
    """How far the legacy model is from itself."""
    floor = document.noise
    if floor is None:
        return None
    largest = max(floor.largest.values(), default=0.0)
    columns = (
        Column("Output"),
        Column("Largest difference", number=True),
        Column("Elements that differ", number=True),
        Column(""),
    )
    rows = [
        (
            Cell(name, "mono"),
            Cell(Telling().told(value)),
            Cell(Telling("share").told(floor.differing.get(name, 0.0))),
            Cell("texts, shapes, NaN or infinities differ" if name in floor.unstable else "", "warning"),
        )
        for name, value in sorted(floor.largest.items())
    ]
    told = (
        f"Asked row by row and in batches, {counted(floor.pairs, 'batch', 'batches')}: what differs there no candidate "
        "is to be blamed for."
    )
    heading = (
        f"The legacy model differs from itself by up to {Telling().told(largest)}"
        if largest or floor.unstable
        else "The legacy model answers the same in every batch"
    )
    if not floor.pairs:
        return Section(
            "noise",
            "The legacy model’s noise could not be measured",
            [Text("No rows could be told apart.")],
            "Noise floor",
        )
    return Section("noise", heading, [Text(told), Table("By output", columns, rows)], "Noise floor")


def worst(document: Document) -> Section:
    """The cases that agree least, of each condition; with their inputs, where those were kept."""
    kept = {case.number: case for case in document.kept}
    blocks: list[Block] = []
    seen: set[int] = set()
    for finding in document.result.conditions:
        cases = finding.worst[:MOST_WORST]
        if not cases:
            continue
        picked = [each for each in varied(cases) if each.number in kept and each.number not in seen][:MOST_CARDS]
        seen.update(each.number for each in picked)
        if picked:
            cards = [card_for(each, kept[each.number]) for each in picked]
            blocks += [Text(finding.name, "subheading"), Cards(cards)]
        blocks.append(worst_table(finding.name, cases))
    if not blocks:
        return Section("worst", "No unit disagrees in any condition", [], "Worst disagreements")
    told = "By their number in the data, from 0. Among equals they were drawn, so that not only the first are seen."
    if not kept:
        told += " What was asked and answered was not kept: that takes --keep-inputs."
    elif document.redacted:
        told += f" Redacted before they were kept: {', '.join(document.redacted)}."
    else:
        told += " Inputs and answers are shown as they were: the plan redacts nothing."
    return Section("worst", "These agree least", [Text(told), *blocks], "Worst disagreements")


def varied(cases: tuple[Case, ...]) -> list[Case]:
    """First the worst of each reason, then the second of each, …: not one reason alone."""
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, int, Case]] = []
    for case in cases:
        ranked.append((seen[case.reason], len(ranked), case))
        seen[case.reason] += 1
    return [case for *_, case in sorted(ranked, key=lambda each: each[:2])]


def card_for(case: Case, kept: KeptCase) -> Card:
    told = "; ".join(filter(None, (case.reason, f"value {Telling().told(case.value)}")))
    return card_of(kept, f"Case {case.number}", told)


def worst_table(caption: str, cases: tuple[Case, ...]) -> Table:
    columns = (Column("Case"), Column("Value", number=True), Column("Severity", number=True), Column("Why"))
    rows = [
        (
            Cell(f"{each.number:,}"),
            *(Cell(Telling().told(value)) for value in (each.value, each.severity)),
            Cell(each.reason),
        )
        for each in cases
    ]
    return Table(f"The {len(rows)} worst cases, {caption}", columns, rows, folded=True)


def bound_to(document: Document) -> Section:
    """The digests, and what has none."""
    unpinned = [name for name, party in sides(document) if not party.pinned]
    rows = [
        (Cell(name, name), Cell(party.told), Cell(party.digest, "mono" if party.pinned else "warning"))
        for name, party in sides(document)
    ]
    rows.append(
        (Cell("data"), Cell(f"{document.data.file} ({document.data.format})"), Cell(document.data.sha256, "mono"))
    )
    rows.append((Cell("plan"), Cell(document.result.mode), Cell(document.result.plan, "mono")))
    columns = (Column(""), Column("What it is"), Column("SHA-256"))
    blocks: list[Block] = [Table("Digests", columns, rows)]
    if unpinned:
        blocks.insert(0, Text(
            f"Unpinned: {' and '.join(unpinned)}. An address tells no digest, so nobody can know that what answered is "
            "what will be served.",
            "warning",
        ))  # fmt: skip
    blocks += [Text(notice) for notice in document.result.notices]
    if document.stated:
        blocks.append(stated(document.stated))
    heading = "Both models are pinned by their digests" if not unpinned else f"Not pinned: {' and '.join(unpinned)}"
    return Section("bound", heading, blocks, "What this is bound to")


def sides(document: Document) -> tuple[tuple[str, Party], tuple[str, Party]]:
    return ("legacy", document.legacy), ("candidate", document.candidate)


def stated(plan: Mapping[str, Any]) -> Table:
    """The plan as it was stated, what is empty left out."""
    rows = [
        (Cell(name, "mono"), Cell(told(value), "mono"))
        for name, value in sorted(plan.items())
        if value not in (None, "", [], {})
    ]
    return Table("The plan, as its digest is made of it", (Column("Setting"), Column("Value")), rows, folded=True)


def told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
