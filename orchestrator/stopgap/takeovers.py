"""From what is recorded of hand-overs, and what is served, to what a front does about it: pure, so that every command
that tells a front anything tells it the same, whatever was killed in the middle of what.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stopgap.front.settings import Split, Takeover
from stopgap.stages import HandOver, Key, Stage
from stopgap.stages import Model as Named
from stopgap.store import Deployment

__all__ = ["is_meant", "takeover_of", "takeovers_among"]

ROUTED = (Stage.SPLIT, Stage.PROMOTED, Stage.RETIRED)


def takeovers_among(records: Iterable[HandOver], models: Iterable[Deployment]) -> list[Takeover]:
    """Those that are in force.

    Args:
        records: Of one front.
        models: That it routes to.
    """
    named = {model.name: model for model in models}
    found = (takeover_of(record, named) for record in records)
    return [takeover for takeover in found if takeover is not None]


def takeover_of(record: HandOver, models: Mapping[str, Deployment]) -> Takeover | None:
    """None where the name is its own model's: also where the candidate that was meant is not there any more."""
    if record.stage not in ROUTED or record.candidate is None:
        return None
    candidate = models.get(record.candidate.name)
    if candidate is None or not is_meant(record.candidate, candidate) or record.name not in candidate.also_called:
        return None
    legacy = models.get(record.name)
    stands = record.stage is not Stage.RETIRED and legacy is not None and is_meant(record.legacy, legacy)
    if not stands and (record.stage is Stage.SPLIT or (legacy is not None and record.stage is Stage.PROMOTED)):
        return None
    split = split_of(record.share, record.key, record.salt) if record.stage is Stage.SPLIT and record.key else None
    return Takeover(record.name, candidate.name, stands, record.legacy.version, split)


def is_meant(model: Named, deployment: Deployment) -> bool:
    """Whether what is served under that name is what a hand-over was begun with."""
    return model == Named(deployment.name, deployment.sunset.digest, deployment.version)


def split_of(share: int, key: Key, salt: str) -> Split:
    if key.kind == "cookie":
        name = re.escape(key.name)
        return Split(share, "cookie", rf"(?:.*;\s*)?{name}=([^;]+)(?:;.*)?", salt)
    return Split(share, key.name, "(.+)", salt)
