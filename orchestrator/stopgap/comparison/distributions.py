"""How far two distributions over the same classes are from each other, by request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stopgap.comparison.pairs import Pair
from stopgap.comparison.sight import DISTANCE, Evidence, Sight, by_row, unknown, worst
from stopgap.comparison.values import Floats

__all__ = ["JensenShannon", "TotalVariation", "jensen_shannon", "probabilities", "total_variation"]

SUM_TOLERANCE = 1e-3  # bfloat16 rounds more than this: convert such scores to logits


@dataclass(frozen=True)
class Distributions:
    """Probabilities of shape [rows, classes], or with `logits` what a softmax makes into them."""

    output: str
    logits: bool = False

    @property
    def evidence(self) -> Evidence:
        return DISTANCE

    def look(self, pair: Pair) -> Sight:
        rows = by_row(self, pair, self.output, least=1, else_there_is="there are no classes")
        if isinstance(rows, Sight):
            return rows
        ours, theirs = (probabilities(side, self.logits) for side in (rows.legacy, rows.candidate))
        if ours is None:
            return unknown("the legacy model's answer is no distribution")
        if theirs is None:
            return worst(self, "the candidate's answer is no distribution")
        values = self.distance(ours, theirs)
        return Sight(values, severity=float(values.max()))

    @staticmethod
    def distance(ours: Floats, theirs: Floats) -> Floats:
        raise NotImplementedError


class JensenShannon(Distributions):
    """The Jensen-Shannon divergence to the base 2, from 0 to 1; its root is the distance of the same name."""

    @staticmethod
    def distance(ours: Floats, theirs: Floats) -> Floats:
        return jensen_shannon(ours, theirs)


class TotalVariation(Distributions):
    """Half the sum of the absolute differences, from 0 to 1: the largest difference on any set of classes."""

    @staticmethod
    def distance(ours: Floats, theirs: Floats) -> Floats:
        return total_variation(ours, theirs)


def probabilities(scores: Floats, logits: bool) -> Floats | None:
    """Rows that add up to exactly 1; None where they are no distributions."""
    if logits:
        if np.isnan(scores).any() or (scores == np.inf).any() or (scores == -np.inf).all(axis=1).any():
            return None
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))
    sums = scores.sum(axis=1, keepdims=True) if np.isfinite(scores).all() else np.zeros((len(scores), 1))
    if (scores < -SUM_TOLERANCE).any() or (np.abs(sums - 1) > SUM_TOLERANCE).any():
        return None
    positive = np.maximum(scores, 0.0)
    return np.asarray(positive / positive.sum(axis=1, keepdims=True))


def jensen_shannon(ours: Floats, theirs: Floats) -> Floats:
    """By row; shape [rows, classes] each, the rows adding up to 1."""
    middle = (ours + theirs) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(side > 0, side * (np.log2(side) - np.log2(middle)), 0.0) for side in (ours, theirs)]
    return np.asarray(np.clip((parts[0] + parts[1]).sum(axis=1) / 2, 0.0, 1.0))


def total_variation(ours: Floats, theirs: Floats) -> Floats:
    """Likewise."""
    return np.asarray(np.clip(np.abs(ours - theirs).sum(axis=1) / 2, 0.0, 1.0))
