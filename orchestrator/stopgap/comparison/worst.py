"""The few cases that agree least; among equals a fair draw, so that not only the first are seen."""

from __future__ import annotations

import heapq
import math
import random

from stopgap.comparison.result import Case

__all__ = ["Worst"]

KEPT = 20


class Worst:
    """Keeps their numbers; never what is in them."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - which of equals are shown is no secret
        self._heap: list[tuple[float, float, int, Case]] = []

    def add(self, case: Case) -> None:
        severity = math.inf if math.isnan(case.severity) else case.severity
        entry = (severity, self._random.random(), case.number, case)
        if len(self._heap) < KEPT:
            heapq.heappush(self._heap, entry)
        elif entry[:3] > self._heap[0][:3]:
            heapq.heapreplace(self._heap, entry)

    @property
    def cases(self) -> tuple[Case, ...]:
        return tuple(entry[3] for entry in sorted(self._heap, key=lambda each: each[:3], reverse=True))
