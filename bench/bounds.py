"""What a run must keep, as ratios of its own figures, and which of that it did not: pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["SHARE_OF_A_COPY", "Bound", "bounds", "missed"]

SHARE_OF_A_COPY = 0.4
"""How fast 10 MB must come through the front: 1 is as fast as through a Unix socket."""


class Bound(NamedTuple):
    """One figure against its bound; None where it could not be measured, which counts as missed."""

    what: str
    figure: float | None
    bound: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        if self.figure is None:
            return False
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def __str__(self) -> str:
        figure = "not measured" if self.figure is None else f"{self.figure:.2f}"
        return f"{self.what}: {figure}, the bound is {'at least' if self.at_least else 'at most'} {self.bound:g}"


def bounds(results: dict[str, Any]) -> Iterator[Bound]:
    """All of them, in the order in which they are shown."""
    latency = {name: figures and figures["p50"] for name, figures in results["one_caller_us"].items()}
    rates, copies = results["eight_callers_rps"], results["large_10mb_us"]
    yield Bound("socket, × the bare call", latency["socket"] / latency["bare"], 1.4)
    yield Bound("front with gRPC, × the bare call", latency["front_grpc"] / latency["bare"], 2.3)
    by_hand = rates["handwritten_py37"]
    yield Bound(
        "eight callers at the front, × the handwritten server",
        rates["front_grpc"] / by_hand if by_hand else None,
        4,
        at_least=True,
    )
    share = copies["unix_copy"]["p50"] / copies["front_grpc"]["p50"]
    yield Bound("10 MB through the front, × a Unix socket's copy", share, SHARE_OF_A_COPY, at_least=True)
    yield Bound("memory of the legacy container, MiB", results["memory_mib"]["legacy"], 80)
    yield Bound("serve, s", results["startup_s"]["serve"], 3)
    for form, figures in results["json_150528_floats"].items():
        yield Bound(f"150,528 floats in JSON, {form}, × orjson.loads, without the run", figures["ratio"], 3)


def missed(results: dict[str, Any]) -> list[str]:
    """Those that do not hold, in words."""
    return [str(bound) for bound in bounds(results) if not bound.holds]
