"""What a front has counted, since it started, of predictions for a name that is taken over: by why and by whom."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from stopgap.front.admin import Admin
from stopgap.front.arm_log import ARMS
from stopgap.front.routes import TAKEN_OVER, Kind
from stopgap.front.traffic import Durations, durations

__all__ = ["Arm", "arms", "together"]

_MICROSECONDS: Final = 1_000_000
_CODES: Final = re.compile(r"grpc\.(\d*)\.http\.(\d*)")
# What is no answer of a model's: a caller that has gone.
_GONE: Final = frozenset({("grpc", "1"), ("rest", "0"), ("rest", "")})


@dataclass(frozen=True)
class Arm:
    """Predictions that went to one model for one reason.

    Attributes:
        model: Who answered, or should have.
        codes: How many by protocol, `grpc` or `rest`, and status: gRPC's or HTTP's, in digits.
        durations: From a request's last byte to its answer's last.
    """

    kind: Kind
    model: str
    codes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    durations: Durations = field(default_factory=Durations)

    @property
    def asked(self) -> int:
        """All of them."""
        return sum(self.codes.values())

    @property
    def judged(self) -> int:
        """Those whose caller was there for the answer."""
        return sum(times for code, times in self.codes.items() if code not in _GONE)

    @property
    def failed(self) -> int:
        """Of these, those that were answered with an error, whosever fault it was."""
        return sum(times for code, times in self.codes.items() if code not in _GONE and not _is_well(*code))


def arms(admin: Admin, counted: str, models: Iterable[str]) -> list[Arm]:
    """Those of a name that is taken over.

    Args:
        admin: The front's.
        counted: As `Takeover.counted` has it.
        models: Who may have answered.

    Raises:
        FrontError: No Envoy answers.
    """
    counts = {each["name"]: int(each["value"]) for each in admin.statistics(rf"^{ARMS}\.answered\.") if "value" in each}
    bins = {each["name"]: each["totals"] for each in admin.histograms(rf"^{ARMS}\.took\.")}
    found = [_arm(kind, counted, model, counts, bins) for kind in Kind for model in dict.fromkeys(models)]
    return [arm for arm in found if arm.codes]


def together(found: Iterable[Arm], model: str, *kinds: Kind) -> Arm:
    """All that went to a model for one of these reasons, as if it were for the first."""
    codes: dict[tuple[str, str], int] = {}
    up_to_s: dict[float, int] = {}
    count, sum_s = 0, 0.0
    for arm in found:
        if arm.model == model and arm.kind in kinds:
            for code, times in arm.codes.items():
                codes[code] = codes.get(code, 0) + times
            for bound, times in arm.durations.up_to_s.items():
                up_to_s[bound] = up_to_s.get(bound, 0) + times
            count, sum_s = count + arm.durations.count, sum_s + arm.durations.sum_s
    return Arm(kinds[0], model, codes, Durations(up_to_s, count, sum_s))


def _arm(
    kind: Kind, counted: str, model: str, counts: Mapping[str, int], bins: Mapping[str, list[dict[str, object]]]
) -> Arm:
    """A name may have dots in it, so the whole of what is behind the prefix must match."""
    told = f"route.{TAKEN_OVER}/{kind.value}/{counted}.model.{model}"
    answered = f"{ARMS}.answered.{told}."
    codes: dict[tuple[str, str], int] = {}
    for statistic, times in counts.items():
        if statistic.startswith(answered) and (match := _CODES.fullmatch(statistic, len(answered))):
            grpc, http = match.groups()
            codes["grpc" if grpc else "rest", grpc or http] = times
    return Arm(kind, model, codes, durations(bins.get(f"{ARMS}.took.{told}", []), _MICROSECONDS))


def _is_well(protocol: str, code: str) -> bool:
    return code == "0" if protocol == "grpc" else int(code) < 400
