"""Families of the names whose callers are split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily, Metric

from stopgap.ledger.book import ARMS
from stopgap.metrics.families import buckets_of, counter, gauge
from stopgap.metrics.looking import Seen, SplitSeen

__all__ = ["splits"]


def splits(seen: Sequence[Seen]) -> Iterator[Metric]:
    """What the front has counted of each arm, then what the ledger knows of its callers."""
    split = [(each.name, each.split) for each in seen if each.split]
    yield gauge("stopgap_split_share", "The candidate's, as it was asked for.", {(n,): each.share for n, each in split})
    yield from arms(split)
    yield from ledgers(split)


def arms(split: Sequence[tuple[str, SplitSeen]]) -> Iterator[Metric]:
    counted = [(name, which, arm) for name, each in split for which, arm in each.arms.items()]
    yield counter(
        "stopgap_split_requests",
        "Predictions by arm; `keyless` and `pinned` are of neither.",
        {(name, which): arm.asked for name, which, arm in counted},
        "arm",
    )
    yield counter(
        "stopgap_split_requests_failed",
        "Those that were answered with an error.",
        {(name, which): arm.failed for name, which, arm in counted},
        "arm",
    )
    times = HistogramMetricFamily(
        "stopgap_split_request_duration_seconds",
        "From a request's last byte to its answer's last.",
        labels=["model", "arm"],
    )
    for name, which, arm in counted:
        times.add_metric([name, which], buckets_of(arm.durations), arm.durations.sum_s)
    yield times


def ledgers(split: Sequence[tuple[str, SplitSeen]]) -> Iterator[Metric]:
    kept = [(name, each.kept) for name, each in split if each.kept]
    by_arm = [(name, which, found.known.arm(which)) for name, found in kept for which in ARMS]
    yield counter(
        "stopgap_split_callers",
        "Distinct callers, by the arm of the first answer that was heard of.",
        {(name, which): arm.units for name, which, arm in by_arm},
        "arm",
    )
    yield gauge(
        "stopgap_split_shares_wrong",
        "Whether the callers are shared out otherwise than was asked for; once seen it stays so.",
        {(name,): found.known.ratio.mismatch for name, found in kept},
    )
    yield counter(
        "stopgap_split_feedback",
        "Answers of which somebody has said what came of them.",
        {(name, which): arm.feedback for name, which, arm in by_arm},
        "arm",
    )
    yield gauge(
        "stopgap_split_reward_mean",
        "Of the first reward of each caller that was first seen at the present share.",
        {
            (name, which): mean.estimate
            for name, found in kept
            for which, mean in zip(ARMS, (found.rewards.candidate, found.rewards.legacy))
            if mean.units
        },
        "arm",
    )
    yield gauge(
        "stopgap_split_ledger_up",
        "Whether somebody keeps the ledger.",
        {(name,): bool(each.kept and each.kept.reading.kept) for name, each in split},
    )
    yield counter(
        "stopgap_split_ledger_lost",
        "Requests that the front has counted and the ledger has not heard of.",
        {(name,): found.known.lost for name, found in kept},
    )
