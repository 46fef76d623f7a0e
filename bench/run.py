"""`make bench`: what each layer adds to a bare TensorFlow call, in one run, since machines differ and are noisy.

Every path gets the same request for the same model (`stn_affine_resampler`, one image). The paths take turns in rounds,
so that a slow minute hits all of them; the figures are medians and 99th percentiles over all rounds. Written to
`build/bench.json`; bounds are ratios to the bare call with TensorFlow's default options.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bare import BareModel
from deployed import Deployed
from h2load import latencies_us, requests_per_s
from raw_socket import socket_latencies_us
from rich.console import Console
from rich.table import Table
from stopgap import bundles

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "tests" / "data" / "zoo" / "stn_affine_resampler"
ROUNDS = 5
CALLS = 400
BOUNDS = {"socket": 1.4, "front_grpc": 2.8}


@dataclass(frozen=True)
class Figure:
    """One path's latency in microseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, samples: list[float]) -> Figure:
        """Percentiles of some latencies."""
        p50, p99 = np.percentile(samples, [50, 99])
        return cls(round(float(p50), 1), round(float(p99), 1))


def main() -> int:
    """Measures, prints, writes; 1 when a bound is missed."""
    console = Console()
    bundle = bundles.ensure("tf-1.15.5")
    with (
        Deployed(MODEL) as deployed,
        Deployed(MODEL, published=True) as published,
        BareModel(bundle.path, MODEL) as bare,
    ):
        one_caller = measure(
            {
                "bare": lambda: bare.latencies_us(CALLS, in_callers_thread=False),
                "bare_caller_thread": lambda: bare.latencies_us(CALLS, in_callers_thread=True),
                "socket": lambda: socket_latencies_us(deployed.socket, deployed.request, CALLS),
                "front_grpc": lambda: latencies_us(deployed.address, deployed.request, CALLS),
                "front_published": lambda: latencies_us(published.address, published.request, CALLS),
            },
            console,
        )
        eight_callers = {"front_grpc": round(requests_per_s(deployed.address, deployed.request, callers=8), 1)}
        memory = deployed.memory_mib()
    ratios = {name: round(figure.p50 / one_caller["bare"].p50, 2) for name, figure in one_caller.items()}
    result = {
        "one_caller_us": {name: vars(figure) for name, figure in one_caller.items()},
        "one_caller_ratio": ratios,
        "eight_callers_rps": eight_callers,
        "memory_mib": {"legacy": memory},
    }
    target = ROOT / "build" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    show(console, one_caller, ratios)
    console.print(f"eight callers through the front: {eight_callers['front_grpc']:.0f} requests/s")
    console.print(f"memory of the legacy container: {memory:.0f} MiB; all figures in {target.relative_to(ROOT)}")
    missed = [name for name, bound in BOUNDS.items() if ratios[name] > bound]
    for name in missed:
        console.print(f"[red]{name}: {ratios[name]} × the bare call, the bound is {BOUNDS[name]} ×[/]")
    return 1 if missed else 0


def measure(paths: dict[str, Callable[[], list[float]]], console: Console) -> dict[str, Figure]:
    """Lets the paths take turns; the first round only warms up."""
    samples: dict[str, list[float]] = {name: [] for name in paths}
    for turn in range(ROUNDS + 1):
        console.print(f"round {turn} of {ROUNDS}" + (" (warm-up)" if turn == 0 else ""), style="dim")
        for name, latencies in paths.items():
            measured = latencies()
            if turn:
                samples[name] += measured
    return {name: Figure.of(values) for name, values in samples.items()}


def show(console: Console, figures: dict[str, Figure], ratios: dict[str, float]) -> None:
    """The table, with bars: rather looked at than read."""
    table = Table("path, one caller", "p50 µs", "p99 µs", "× bare", "bound", "")
    for name, figure in figures.items():
        bound = f"{BOUNDS[name]} ×" if name in BOUNDS else ""
        bar = "█" * round(12 * ratios[name])
        table.add_row(name, f"{figure.p50:.0f}", f"{figure.p99:.0f}", f"{ratios[name]:.2f}", bound, bar)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
