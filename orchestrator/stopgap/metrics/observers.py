"""Families of what observes: shadows and recordings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import Metric

from stopgap.errors import StopgapError
from stopgap.metrics.families import counter, gauge
from stopgap.observer.counting import Totals
from stopgap.observer.written import totals_of
from stopgap.observers import Kind
from stopgap.observing import KINDS
from stopgap.store import Store

__all__ = ["observers"]


def observers(store: Store) -> Iterator[Metric]:
    """Of shadows and recordings, since each was begun; of one that cannot be read, only that it is wanted."""
    wanted = [(kind, name) for kind in KINDS for name in kind.names(store)]
    counted = [((name, kind.word), counts_of(kind, name, store)) for kind, name in wanted]
    totals = {labels: counts for labels, counts in counted if counts is not None}
    yield gauge(
        "stopgap_observer_up",
        "Whether the process lives that asks a shadow's two models, or records.",
        {(name, kind.word): kind.lives(name, store) for kind, name in wanted},
        "observer",
    )
    yield counter(
        "stopgap_observer_mirrored",
        "Copies of predictions that the front has made for it.",
        {labels: counts.sent for labels, counts in totals.items()},
        "observer",
    )
    yield counter(
        "stopgap_observer_done",
        "Requests that were compared, or recorded.",
        {labels: counts.joined for labels, counts in totals.items()},
        "observer",
    )
    yield counter(
        "stopgap_observer_dropped",
        "Requests that were mirrored, and neither compared nor recorded, by reason.",
        {(*labels, why): number for labels, counts in totals.items() for why, number in counts.dropped.items()},
        "observer",
        "reason",
    )
    yield counter(
        "stopgap_observer_not_mirrored",
        "Requests over REST, or by other methods than Predict, which are never mirrored.",
        {labels: counts.not_mirrored for labels, counts in totals.items()},
        "observer",
    )


def counts_of(kind: Kind[Any], name: str, store: Store) -> Totals | None:
    with contextlib.suppress(StopgapError):
        return totals_of(kind, name, store)
    return None
