"""Whether a candidate that was promoted still agrees with the legacy model, where a shadow goes on asking both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stopgap.handover.alarm import ALPHA, Alarm

__all__ = ["Agreeing", "Shown"]

Shown = Callable[[], Mapping[str, Any]]
"""What a shadow of just these two has found by now, as `comparison.result` writes it; empty where there is none."""


@dataclass(frozen=True)
class Known:
    """One condition of yes and no: of how many units it is known, and for how many it holds."""

    margin: float
    units: int
    holds: int


class Agreeing:
    """Judges each condition of yes and no anew, by the margin that was stated for it: of what comes from now on.

    All of them together err with a probability of at most `ALPHA`.

    Attributes:
        units: How many came.
    """

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._begun: dict[str, Known] = {}
        self._last: dict[str, Known] = {}
        self._alarms: dict[str, Alarm] = {}
        self.units = 0
        self.trouble()  # where it begins

    def trouble(self) -> str:
        """Why it is to be rolled back; empty where it is not."""
        found = ""
        known = known_in(self._shown())
        for name, now in known.items():
            if name not in self._alarms:
                self._alarms[name] = Alarm(now.margin, ALPHA / len(known))
                self._begun[name] = now
            last, self._last[name] = self._last.get(name, now), now
            if now.units < last.units:  # another experiment has begun
                self._begun[name] = last = Known(now.margin, 0, 0)
            came, holds = now.units - last.units, now.holds - last.holds
            if self._alarms[name].goes_off(came, came - holds):
                found = found or self._told(name, now)
        self.units = max((last.units - self._begun[name].units for name, last in self._last.items()), default=0)
        return found

    def _told(self, name: str, now: Known) -> str:
        begun = self._begun[name]
        units, holds = now.units - begun.units, now.holds - begun.holds
        return (
            f"of {units} units that both were asked since, {name} holds for {holds / units:.1%}, where at least "
            f"{now.margin:.1%} was stated"
        )


def known_in(result: Mapping[str, Any]) -> dict[str, Known]:
    """By their names; those that have a margin."""
    found = {}
    for each in result.get("conditions", ()):
        if each["evidence"] == "share" and each["margin"] is not None:
            count = each["values"]["count"]
            holds = round(count * each["values"]["mean"]) if count else 0
            found[each["name"]] = Known(each["margin"], count, holds)
    return found
