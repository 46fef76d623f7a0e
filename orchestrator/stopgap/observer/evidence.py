"""What a shadow has found, as the document that a comparison leaves: shown as one, and a promotion may rest on it."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from stopgap.comparison.document import UNPINNED, Document, document_in
from stopgap.comparison.plan import Plan
from stopgap.errors import ShadowError
from stopgap.observer.report import Report

__all__ = ["document_of"]


def document_of(seen: Report) -> Document:
    """As of the observer's last result.

    What a person has to know of the sample is among its notices. The data are users' requests, which nobody kept: so
    they have no digest.

    Raises:
        ShadowError: Nothing was compared yet.
    """
    experiment = seen.experiment
    if experiment is None or experiment.result_s is None or not seen.result.get("requests"):
        raise ShadowError(
            f"The shadow of {seen.name} has compared nothing yet.", f"See why: stopgap shadow {seen.name} --show"
        )
    at, began = map(utc, (experiment.result_s, experiment.begun_s))
    return document_in(
        {
            **seen.result,
            "notices": [*seen.result.get("notices", ()), *seen.warnings],
            "legacy": experiment.told["legacy"],
            "candidate": experiment.told["candidate"],
            "data": {
                "file": f"what users asked {seen.name} from {began} to {at}",
                "format": "shadow",
                "sha256": UNPINNED,
            },
            "stated": stated_in(seen, experiment.told["plan"]),
            "made": {"at": at, "stopgap": metadata.version("stopgap")},
        }
    )


def stated_in(seen: Report, digest: str) -> dict[str, Any]:
    """The plan in its own words, where it still is the one that was judged by."""
    if seen.shadow is None:
        return {}
    plan = Plan.of(**seen.shadow.plan)
    return dict(plan.stated) if plan.digest == digest else {}


def utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"
