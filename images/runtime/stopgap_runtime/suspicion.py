"""Requests that were run alone when somebody else ended their worker: the kernel, for want of memory, or a person.

Memory is shared with the other workers, so such a death proves little. A poison that fills it does the same again and
again; an honest request, which met a neighbour's bomb, does not.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from .quarantine import LASTS_S, Fingerprint

__all__ = ["Suspicion"]

_LIMIT: Final = 256
_ENOUGH: Final = 4
_ALONE_COUNTS: Final = 2  # where no other worker was busy, which may have been it


class Suspicion:
    """How often each was there within the last hour. The newest take the place of the oldest."""

    def __init__(self) -> None:
        self._known: OrderedDict[Fingerprint, tuple[int, float]] = OrderedDict()

    def convicts(self, request: Fingerprint, *, beside: bool) -> bool:
        """Counts one more such death; whether it was one too many: the second, or the fourth with others beside.

        Args:
            beside: Whether another worker was busy.
        """
        now = time.monotonic()
        count, until = self._known.pop(request, (0, now))
        count = (count if until > now else 0) + (1 if beside else _ALONE_COUNTS)
        if count >= _ENOUGH:
            return True
        self._known[request] = (count, now + LASTS_S)
        if len(self._known) > _LIMIT:
            self._known.popitem(last=False)
        return False

    def clear(self) -> None:
        """Forgets them all."""
        self._known.clear()
