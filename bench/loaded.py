"""The model as a Python program has it: `stopgap.load`, asked with arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import stopgap
from deployed import Deployed


@contextmanager
def loaded_latencies_us(deployed: Deployed) -> Iterator[Callable[[int], list[float]]]:
    """Gives what measures the latency of each of some calls, in microseconds."""
    with stopgap.load(f"{deployed.address}/{deployed.name}") as model:
        ask = model.signatures["serving_default"].numpy

        def timed_us() -> float:
            began = time.perf_counter()
            ask(**deployed.inputs)
            return (time.perf_counter() - began) * 1e6

        yield lambda calls: [timed_us() for _ in range(calls)]
