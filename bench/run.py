"""`make bench`: what each layer adds to a bare TensorFlow call, in one run, since machines differ and are noisy.

Every path gets the same request for the same model, one image. The paths take turns in rounds, so that a slow minute
hits all of them; latencies are medians and 99th percentiles over all rounds, rates are medians. Written to
`build/bench.json`; bounds are ratios within the run.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bare import BareModel
from bounds import missed
from copies import large_model, unix_copy_us, wakeups_us
from deployed import Deployed
from h2load import latencies_us, over_grpc, requests_per_s
from handwritten import Handwritten, handwritten
from layers import layers_us, turns_us
from loaded import loaded_latencies_us
from raw_socket import socket_latencies_us
from reference_model import reference_model
from rest_json import rest_json
from rich.console import Console
from start import bundle_load_s, worker_replaced_s
from stopgap import bundles
from tables import show

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ROOT = Path(__file__).resolve().parents[1]
SMALLER = ROOT / "tests" / "data" / "zoo" / "stn_affine_resampler"
ROUNDS = 7
CALLS = 400
LARGE_ROUNDS = 5
LARGE_CALLS = 12
CALLERS = 8
WORKERS = (1, 2, 4)

Results = dict[str, Any]
Latencies = Callable[[], list[float]]


def main() -> int:
    """Measures, prints, writes; 1 when a bound is missed."""
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        results = rounded(measured(reference_model(Path(folder) / "model"), console))
    target = ROOT / "build" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=2) + "\n")
    show(console, results)
    console.print(f"all figures in {target.relative_to(ROOT)}")
    failures = missed(results)
    for text in failures:
        console.print(f"[red]{text}[/]")
    return 1 if failures else 0


def measured(model: Path, console: Console) -> Results:
    """All figures."""
    bundle = bundles.ensure("tf-1.15.5").path
    with Deployed(model, "bench-first"):
        pass  # what has to be built once is there from now on
    with measured_deployment(bundle, model) as (deployed, bare, by_hand):
        results: Results = {
            "one_caller_us": one_caller(deployed, bare, by_hand, console),
            "eight_callers_rps": eight_callers(deployed, by_hand, console),
            "memory_mib": {
                "legacy": deployed.memory_mib(),
                "handwritten_py37": by_hand.memory_mib() if by_hand else None,
            },
            "startup_s": {
                "serve": deployed.serve_s,
                "worker_replaced": worker_replaced_s(deployed),
                "bundle_load": bundle_load_s(bundle),
            },
            "layers_us": layers_us(bundle, model),
            "turns_us": turns_us(bundle, model, deployed.rest),
        }
    results["wakeups_us"] = wakeups_us(results["one_caller_us"]["bare_caller_thread"]["p50"], CALLS)
    results["smaller_model_us"] = smaller_model(bundle, console)
    results["large_10mb_us"] = large(bundle, console)
    results["workers_rps"] = workers(model, console)
    results["json_150528_floats"] = {form: rest_json(bundle, nested=form == "nested") for form in ("nested", "flat")}
    return results


@contextmanager
def measured_deployment(bundle: Path, model: Path) -> Iterator[tuple[Deployed, BareModel, Handwritten | None]]:
    with (
        Deployed(model) as deployed,
        BareModel(bundle, model) as bare,
        handwritten(model / "1", deployed.request) as by_hand,
    ):
        yield deployed, bare, by_hand


def one_caller(deployed: Deployed, bare: BareModel, by_hand: Handwritten | None, console: Console) -> Results:
    """Latencies, one request after the other."""
    with (
        Deployed(deployed.model, "bench-published", published=True) as published,
        loaded_latencies_us(deployed) as loaded,
    ):
        paths: dict[str, Latencies] = {
            "bare": lambda: bare.latencies_us(CALLS, in_callers_thread=False),
            "bare_caller_thread": lambda: bare.latencies_us(CALLS, in_callers_thread=True),
            "socket": lambda: socket_latencies_us(deployed.socket, deployed.request, CALLS),
            "front_alone": lambda: latencies_us(deployed.to_nobody, CALLS),
            "front_grpc": lambda: latencies_us(deployed.over_grpc, CALLS),
            "front_rest": lambda: latencies_us(deployed.over_rest, CALLS),
            "front_published": lambda: latencies_us(published.over_grpc, CALLS),
            "load_python": lambda: loaded(CALLS),
        }
        if by_hand:
            exchange = over_grpc(by_hand.address, deployed.request)
            paths["handwritten_py37"] = lambda: latencies_us(exchange, CALLS)
        return {**taking_turns(paths, ROUNDS, console), **({} if by_hand else {"handwritten_py37": None})}


def eight_callers(deployed: Deployed, by_hand: Handwritten | None, console: Console) -> Results:
    """Rates, with as many connections."""
    exchanges = {"socket": deployed.over_socket, "front_grpc": deployed.over_grpc, "front_rest": deployed.over_rest}
    if by_hand:
        exchanges["handwritten_py37"] = over_grpc(by_hand.address, deployed.request)
    rates: dict[str, list[float]] = {name: [] for name in exchanges}
    for turn in range(3):
        console.print(f"eight callers, round {turn + 1} of 3", style="dim")
        for name, exchange in exchanges.items():
            rates[name].append(requests_per_s(exchange, callers=CALLERS, calls=4000))
    medians: Results = {name: float(np.median(values)) for name, values in rates.items()}
    return {**medians, **({} if by_hand else {"handwritten_py37": None})}


def large(bundle: Path, console: Console) -> Results:
    """Ten megabytes in a request."""
    with tempfile.TemporaryDirectory() as folder:
        model = large_model(Path(folder) / "model")
        with Deployed(model, "bench-large") as deployed, BareModel(bundle, model) as bare:
            paths: dict[str, Latencies] = {
                "unix_copy": lambda: unix_copy_us(LARGE_CALLS),
                "bare": lambda: bare.latencies_us(LARGE_CALLS, in_callers_thread=False),
                "socket": lambda: socket_latencies_us(deployed.socket, deployed.request, LARGE_CALLS),
                "socket_by_h2load": lambda: latencies_us(deployed.over_socket, LARGE_CALLS),
                "front_alone": lambda: latencies_us(deployed.to_nobody, LARGE_CALLS),
                "front_grpc": lambda: latencies_us(deployed.over_grpc, LARGE_CALLS),
                "front_rest": lambda: latencies_us(deployed.over_rest, LARGE_CALLS),
            }
            return taking_turns(paths, LARGE_ROUNDS, console)


def smaller_model(bundle: Path, console: Console) -> Results:
    """One caller's latencies again, of a model that has less to do: so what is around the run shows more."""
    with Deployed(SMALLER, "bench-smaller") as deployed, BareModel(bundle, SMALLER) as bare:
        paths: dict[str, Latencies] = {
            "bare": lambda: bare.latencies_us(CALLS, in_callers_thread=False),
            "bare_caller_thread": lambda: bare.latencies_us(CALLS, in_callers_thread=True),
            "socket": lambda: socket_latencies_us(deployed.socket, deployed.request, CALLS),
            "front_grpc": lambda: latencies_us(deployed.over_grpc, CALLS),
        }
        return taking_turns(paths, ROUNDS, console)


def workers(model: Path, console: Console) -> Results:
    """Rates of eight callers through the front, by the number of workers behind it."""
    rates: Results = {}
    for number in WORKERS:
        console.print(f"{number} workers", style="dim")
        with Deployed(model, "bench-workers", workers=number) as deployed:
            measure = functools.partial(requests_per_s, deployed.over_grpc, callers=CALLERS)
            measure(calls=1000)
            rates[str(number)] = float(np.median([measure(calls=4000) for _ in range(3)]))
    return rates


def taking_turns(paths: Mapping[str, Latencies], rounds: int, console: Console) -> Results:
    """Percentiles over all rounds; the first one only warms up."""
    samples: dict[str, list[float]] = {name: [] for name in paths}
    for turn in range(rounds + 1):
        console.print(f"round {turn} of {rounds}" + (" (warm-up)" if turn == 0 else ""), style="dim")
        for name, latencies in paths.items():
            measured = latencies()
            samples[name] += measured if turn else []
    return {name: percentiles(values) for name, values in samples.items()}


def percentiles(samples: list[float]) -> Results:
    p50, p99 = np.percentile(samples, [50, 99])
    return {"p50": float(p50), "p99": float(p99)}


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    return round(value, 3 if abs(value) < 10 else 1) if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
