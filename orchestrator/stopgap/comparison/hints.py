"""Where models are perhaps called differently, or have their classes in another order: who should look, and at what."""

from __future__ import annotations

from collections.abc import Iterator

from stopgap.comparison.result import Finding, Result, Table

__all__ = ["hints"]

NAMES = ("the candidate has no such output", "the output is missing")
SHAPES = "the shapes differ"
MOST = 0.5  # of the units: what is so for more than that is no accident
REFUSALS = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")  # other inputs, no such signature
WAY_OUT = "--find-map proposes a map."


def hints(result: Result) -> tuple[str, ...]:
    """What a person should know who sees such a result; nothing where both models seem to speak of the same."""
    found = dict.fromkeys(f"{each} {WAY_OUT}" for finding in result.conditions for each in of_finding(finding))
    if mostly_refuses("legacy", result):
        return (
            "The legacy model refuses what it is asked: perhaps that was meant for another. stopgap predict says why.",
        )
    if mostly_refuses("candidate", result):
        return (f"The candidate refuses what it is asked: perhaps its inputs are called differently. {WAY_OUT}",)
    return tuple(found)


def mostly_refuses(model: str, result: Result) -> bool:
    refused = sum(result.codes.get(f"{model} {code}", 0) for code in REFUSALS)
    return refused > MOST * sum(result.parity.values())


def of_finding(finding: Finding) -> Iterator[str]:
    most = MOST * finding.units
    if sum(finding.reasons.get(reason, 0) for reason in NAMES) > most:
        yield f"{finding.name}: perhaps the candidate's output is called differently."
    elif finding.reasons.get(SHAPES, 0) > most:
        yield f"{finding.name}: the outputs have other shapes, or are not the same outputs."
    elif finding.table is not None and is_permuted(finding.table):
        yield f"{finding.name}: each class is decided as another one; perhaps their order differs."
    elif finding.measure == "close" and finding.estimate < MOST:
        yield f"{finding.name}: hardly any request is close. Perhaps names or the order of classes differ."


def is_permuted(table: Table) -> bool:
    """Whether most rows would agree if each class were the one that the candidate mostly makes of it."""
    rows = sum(map(sum, table.counts))
    agreeing = sum(counts[place] for place, counts in enumerate(table.counts))
    places = {max(range(len(counts)), key=counts.__getitem__) for counts in table.counts if any(counts)}
    turned = sum(max(counts) for counts in table.counts)
    is_one_to_one = len(places) == sum(any(counts) for counts in table.counts)
    return is_one_to_one and agreeing < MOST * rows and turned > MOST * rows
