"""What has gone wrong with the workers, for people to read: bounded, and never more than text."""

from __future__ import annotations

import enum
import secrets
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from .keepsake import Keepsake
from .quarantine import Fingerprint

__all__ = ["Incident", "Incidents", "Kind"]

_KEPT: Final = 50
_REQUESTS_KEPT: Final = 4
_LAST_LINES: Final = 5
_LONGEST_LINE: Final = 200


class Kind(enum.Enum):
    """What has happened."""

    DIED = "a worker died"
    QUARANTINED = "a request ended the worker that ran it alone"
    STATE_LOST = "a worker died, and with it the model's state"
    BACKING_OFF = "too many workers died"


class Incident(NamedTuple):
    """One of them.

    Attributes:
        at: Seconds since 1970.
        worker: Its number, "lane" or "aside".
        cause: The signal, say.
        fingerprint: Of the request, where it is known which it was.
        lines: The last that the worker printed: hostile, made printable.
    """

    name: str
    kind: Kind
    at: float
    worker: str
    cause: str
    fingerprint: Fingerprint | None
    lines: tuple[str, ...]

    def written(self) -> dict[str, Any]:
        """In values that JSON can hold."""
        known = (
            {}
            if self.fingerprint is None
            else {
                "fingerprint": str(self.fingerprint),
                "request_bytes": self.fingerprint.size,
            }
        )
        return {
            "incident": self.name,
            "kind": self.kind.name.lower(),
            "at": self.at,
            "worker": self.worker,
            "cause": self.cause,
            **known,
            "lines": list(self.lines),
        }


class Incidents:
    """The newest of them, and how many there were."""

    def __init__(self) -> None:
        self._newest: deque[Incident] = deque(maxlen=_KEPT)
        self._kept: deque[tuple[str, Keepsake]] = deque()
        self.counts = dict.fromkeys(Kind, 0)

    def record(
        self,
        kind: Kind,
        worker: str,
        cause: str,
        *,
        fingerprint: Fingerprint | None = None,
        lines: Sequence[str] = (),
    ) -> Incident:
        """Adds one."""
        last = tuple(line[:_LONGEST_LINE] for line in lines[-_LAST_LINES:])
        incident = Incident(secrets.token_hex(4), kind, time.time(), worker, cause, fingerprint, last)
        self._newest.append(incident)
        self.counts[kind] += 1
        return incident

    def keep(self, incident: Incident, keepsake: Keepsake) -> None:
        """Has the request beside its incident, in place of the oldest where there are many."""
        self._kept.append((incident.name, keepsake))
        if len(self._kept) > _REQUESTS_KEPT:
            self._kept.popleft()[1].close()

    @property
    def kept(self) -> tuple[tuple[str, Keepsake], ...]:
        """Incidents' names and the requests that have been kept of them, the oldest first."""
        return tuple(self._kept)

    def written(self) -> list[dict[str, Any]]:
        """The oldest first."""
        return [incident.written() for incident in self._newest]
