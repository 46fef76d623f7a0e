"""The page: a document's sections in HTML that runs nothing and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from markupsafe import Markup

from stopgap.comparison.document import Document
from stopgap.report import conditions, surroundings
from stopgap.report.harmless import harmless
from stopgap.report.layout import Section
from stopgap.report.numbers import Telling
from stopgap.report.templates import templates
from stopgap.report.words import headline, scope_of, telling_of

__all__ = ["page_of"]

HERE: Final = Path(__file__).parent
MARKS: Final = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?"}


@dataclass(frozen=True)
class Fact:
    """One number that matters most, and what it is."""

    name: str
    value: str
    beside: str = ""


def page_of(document: Document) -> str:
    """One HTML file, as text. It may hold whatever a model, a caller or a file has put into the document."""
    shown = harmless(document)
    style = (HERE / "page.css").read_text(encoding="utf-8")
    return (
        templates(HERE)
        .get_template("page.html")
        .render(
            style=Markup(style),  # noqa: S704 - a file of ours
            policy=policy_for(style),
            outcome=shown.result.outcome,
            mark=MARKS.get(shown.result.outcome, "?"),
            headline=headline(shown.result),
            scope=scope_of(shown.result),
            document=shown,
            facts=facts(shown),
            counts=conditions.counts_heading(shown.result),
            overview=conditions.overview(shown.result),
            sections=sections(shown),
        )
    )


def policy_for(style: str) -> str:
    """Nothing may run, and nothing may be fetched; the one stylesheet by its hash."""
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def sections(document: Document) -> list[Section]:
    """From what decides to what it rests on."""
    result = document.result
    found = [
        *(conditions.section_of(number, finding, result) for number, finding in enumerate(result.conditions, 1)),
        surroundings.worst(document),
        surroundings.answers(result),
        surroundings.latency(result),
        surroundings.noise(document),
        surroundings.bound_to(document),
    ]
    return [section for section in found if section is not None]


def facts(document: Document) -> list[Fact]:
    """At most four."""
    result = document.result
    decisive = [each for each in result.conditions if each.outcome == result.outcome] or list(result.conditions)
    found = [Fact("Units", f"{result.units:,}", f"of {result.requests:,} requests")]
    if decisive:
        telling = telling_of(decisive[0])
        margin = decisive[0].margin
        beside = "no margin was stated" if margin is None else f"margin {telling.told(margin)}"
        found.append(Fact(decisive[0].name, telling.told(decisive[0].estimate), beside))
    total = sum(result.parity.values())
    if total:
        both = result.parity.get(surroundings.BOTH, 0)
        found.append(Fact("Both answered", Telling("share").told(both / total), f"{total - both:,} did not"))
    speeds = [result.latency[name].q50 for name in ("legacy", "candidate") if name in result.latency]
    if len(speeds) == 2 and all(speed == speed for speed in speeds):  # noqa: PLR0124 - no NaN
        ours, theirs = map(Telling("seconds").told, speeds)
        found.append(Fact("Median latency", theirs, f"legacy {ours}"))
    return found
