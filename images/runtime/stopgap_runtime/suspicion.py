"""Requests that were run alone when somebody else ended their worker: the kernel, for want of memory, or a person.

Memory is shared with the other workers, so such a death proves nothing the first time. A poison that fills it does the
same again; an honest request, which met a neighbour's bomb, does not.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from .quarantine import LASTS_S, Fingerprint

__all__ = ["Suspicion"]

_LIMIT: Final = 256


class Suspicion:
    """Who was there before. The newest take the place of the oldest."""

    def __init__(self) -> None:
        self._until: OrderedDict[Fingerprint, float] = OrderedDict()

    def is_confirmed_by(self, fingerprint: Fingerprint) -> bool:
        """Whether the same request was there within the last hour; from now on it is known as having been."""
        now = time.monotonic()
        confirmed = self._until.pop(fingerprint, now) > now
        self._until[fingerprint] = now + LASTS_S
        if len(self._until) > _LIMIT:
            self._until.popitem(last=False)
        return confirmed

    def clear(self) -> None:
        """Forgets them all."""
        self._until.clear()
