"""What a comparison has found, in sentences: the verdict, and each condition."""

from __future__ import annotations

import math
from typing import Final

from stopgap.comparison.result import Finding, Result
from stopgap.report.numbers import Telling, counted

__all__ = ["heading_of", "headline", "meaning_of", "scope_of", "telling_of"]

# What the estimate of each measure is of; the rest are told by their names.
PHRASES: Final = {
    "close": "{} of units are within the tolerance",
    "top_1": "{} of decisions are the same",
    "top_k": "{} of the top sets are the same",
    "overlap": "the top sets overlap by {}",
    "threshold": "{} fall on the same side of the threshold",
    "equal": "{} of answers are equal",
    "within": "{} of numbers are within what was stated",
    "parity": "{} of units are answered, or refused, alike",
    "answered": "the candidate answers {} of what the legacy model answers",
    "latency": "{} of the candidate’s answers come within the budget",
    "jensen_shannon": "the distributions are {} bits apart on average",
    "total_variation": "the distributions are {} apart on average",
    "difference": "the candidate’s numbers are higher by {} on average",
    "absolute_error": "the numbers are {} apart on average",
    "bias": "the bias is {}",
    "edit_distance": "the sequences are {} of their length apart on average",
    "loss": "the candidate’s loss is higher by {} on average",
}
SHARES: Final = {"overlap", "edit_distance"}
FEWER: Final = 3


def telling_of(finding: Finding) -> Telling:
    """How its numbers are told: a share in percent."""
    return Telling("share" if finding.evidence == "share" or finding.measure in SHARES else "number")


def headline(result: Result) -> str:
    """The verdict, as somebody would say it."""
    judged = [finding for finding in result.conditions if finding.outcome != "SHOWN"]
    every = "its margin" if len(judged) == 1 else f"all {len(judged)} margins"
    if result.outcome == "PASS":
        return f"The candidate holds {every}{'' if result.scope != 'file' else ' on this file'}"
    if result.outcome == "FAIL":
        missed = [finding for finding in judged if finding.outcome == "FAIL"]
        of = "its margin" if len(judged) == 1 else f"{len(missed)} of {len(judged)} margins"
        return f"The candidate misses {of}"
    if not judged:
        return "Nothing here can be judged: what is shown has no bounds"
    if all(finding.margin is None for finding in judged if finding.outcome == "INCONCLUSIVE"):
        return "No verdict: without a stated margin nothing passes"
    more = [finding.more_units for finding in judged if finding.more_units]
    return f"Not decided yet: about {max(more):,} more units are needed" if more else "Not decided"


def scope_of(result: Result) -> str:
    """How far it may be believed."""
    alpha = f"{result.alpha:g}"
    if result.scope == "file":
        return (
            "This is what is so on this file: a count, not an estimate. That it holds for other requests was not "
            "claimed, and cannot be concluded from it."
        )
    if result.scope == "beyond the file":
        text = (
            "It holds for what is to come under the claim, made by who asked, that these units were drawn "
            f"independently from it. Looked at once, each condition errs with a probability of at most {alpha}."
        )
    else:
        text = (
            "Of the running mean of all units so far. It may be looked at after every unit: each condition errs with a "
            f"probability of at most {alpha}, whenever one stops."
        )
    if result.candidates > 1:
        text += f" {result.candidates} candidates were tried on these data, and alpha was divided by that."
    return text


def heading_of(finding: Finding) -> str:
    """The finding itself: what was seen, and how it stands to the margin."""
    telling = telling_of(finding)
    if math.isnan(finding.estimate):
        return "there is no unit to judge"
    phrase = PHRASES.get(finding.measure, "the mean is {}")
    return f"{phrase.format(telling.told(finding.estimate))}{against(finding, telling)}"


def against(finding: Finding, telling: Telling) -> str:
    if finding.outcome == "SHOWN":
        return "; shown, not judged"
    if finding.margin is None:
        return "; no margin was stated"
    margin = telling.told(finding.margin)
    if finding.outcome == "INCONCLUSIVE":
        return f", not yet told from the margin of {margin}"
    better = "above" if finding.higher_is_better else "below"
    worse = "below" if finding.higher_is_better else "above"
    return f", {better if finding.outcome == 'PASS' else worse} the margin of {margin}"


def meaning_of(finding: Finding, scope: str) -> str:
    """What its interval is, and what does not count."""
    telling = telling_of(finding)
    parts = []
    if not math.isnan(finding.lower) and finding.outcome != "SHOWN":
        ends = f"from {telling.told(finding.lower)} to {telling.told(finding.upper)}"
        if scope != "file":
            parts.append(f"What can be true: {ends}.")
        elif finding.unknown:
            parts.append(f"With what is not known: {ends}.")
    parts.append(f"{counted(finding.units, 'unit')} count{'s' if finding.units == 1 else ''}.")
    if finding.unknown:
        parts.append(f"Of {counted(finding.unknown, 'unit')} nothing is known: they are put at their worst.")
    if finding.excluded:
        parts.append(
            f"{counted(finding.excluded, 'unit')} left out: there is nothing of the legacy model’s to agree with."
        )
    if finding.window_units and finding.window_units < finding.units:
        parts.append(f"Of the last {finding.window_units:,}: {telling.told(finding.window)}.")
    if finding.outcome == "INCONCLUSIVE" and finding.reason:
        more = f", about {finding.more_units:,}" if finding.more_units else ""
        parts.append(f"{finding.reason[:1].upper()}{finding.reason[1:]}{more}.")
    return " ".join(parts)
