"""Whether a candidate that was promoted still agrees with the legacy model, where a shadow goes on asking both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stopgap.handover.alarm import Alarm

__all__ = ["Agreeing", "Shown"]

Shown = Callable[[], Mapping[str, Any]]
"""What the shadow has found by now, as `comparison.result` writes it; empty where there is none."""


@dataclass(frozen=True)
class Known:
    """One condition of yes and no: of how many units it is known, and for how many it holds."""

    margin: float
    units: int
    holds: int


class Agreeing:
    """Judges each condition of yes and no anew, by the margin that was stated for it: of what comes from now on.

    Attributes:
        units: How many came.
    """

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._before = known_in(shown())
        self._seen = self._before
        self._alarms: dict[str, Alarm] = {}
        self.units = 0

    def trouble(self) -> str:
        """Why it is to be rolled back; empty where it is not."""
        last, self._seen = self._seen, {**self._seen, **known_in(self._shown())}
        found = ""
        for name, now in self._seen.items():
            was = last.get(name, Known(now.margin, 0, 0))
            if now.units < was.units:  # another experiment has begun
                self._before = {**self._before, name: Known(now.margin, 0, 0)}
                was = self._before[name]
            alarm = self._alarms.setdefault(name, Alarm(now.margin))
            new = now.units - was.units
            if alarm.goes_off(new, new - (now.holds - was.holds)) and not found:
                found = self._told(name, now)
        self.units = max((now.units - self._since(name).units for name, now in self._seen.items()), default=0)
        return found

    def _since(self, name: str) -> Known:
        return self._before.get(name, Known(0.0, 0, 0))

    def _told(self, name: str, now: Known) -> str:
        since = self._since(name)
        units, holds = now.units - since.units, now.holds - since.holds
        return (
            f"of {units} units that both were asked since, {name} holds for {holds / units:.1%}, where at least "
            f"{now.margin:.1%} was stated"
        )


def known_in(result: Mapping[str, Any]) -> dict[str, Known]:
    """By their names; those that have a margin."""
    found = {}
    for each in result.get("conditions", ()):
        count = each["values"]["count"]
        if each["evidence"] == "share" and each["margin"] is not None and count:
            found[each["name"]] = Known(each["margin"], count, round(count * each["values"]["mean"]))
    return found
