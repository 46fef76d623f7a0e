"""REST at a worker's own socket: what JSON costs beside the run, against what it costs to be read and no more.

The request is an image of 224 × 224 × 3 floats (150,528 of them) and the answer one number, so nearly all the time goes
into reading. The worker belongs to a runtime that is started for this, without a container.
"""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from bare import BareModel
from numpy.typing import NDArray
from raw_socket import connected

ROOT = Path(__file__).resolve().parents[1]
IMAGE = (224, 224, 3)
ROUNDS = 15
CALLS = 4
READY_WITHIN_S = 60
NAME = "mean"


def rest_json(bundle: Path, *, nested: bool) -> dict[str, float]:
    """Measures one request, with the image as lists in lists or as one list.

    Returns:
        Medians in microseconds: `loads_us`, what `orjson.loads` takes for the body; `total_us`, a whole exchange at the
        socket; `run_us`, the bare run. `ratio` is (total - run) / loads.
    """
    image = np.random.default_rng(0).random(IMAGE, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        model = _model(Path(folder) / "model", image)
        body = _body(image if nested else image.ravel())
        with BareModel(bundle, model) as bare, _serving(bundle, model, Path(folder)) as address:
            figures = _measured(bare, address, body)
    figures["ratio"] = round((figures["total_us"] - figures["run_us"]) / figures["loads_us"], 2)
    return figures


def _measured(bare: BareModel, address: Path, body: bytes) -> dict[str, float]:
    """The paths take turns, so that a slow minute hits all of them; the first round only warms up."""
    samples: dict[str, list[float]] = {"loads_us": [], "total_us": [], "run_us": []}
    with connected(address) as stream:
        for turn in range(ROUNDS + 1):
            measured = {
                "loads_us": [_loads_us(body) for _ in range(CALLS)],
                "total_us": [_exchange_us(stream, body) for _ in range(CALLS)],
                "run_us": bare.latencies_us(CALLS, in_callers_thread=True),
            }
            for name, values in measured.items():
                samples[name] += values if turn else []
    return {name: round(statistics.median(values), 1) for name, values in samples.items()}


def _loads_us(body: bytes) -> float:
    """Without Python's collector, which would make it look slower than it need be."""
    gc.disable()
    try:
        began = time.perf_counter()
        orjson.loads(body)
        return (time.perf_counter() - began) * 1e6
    finally:
        gc.enable()


def _exchange_us(stream: socket.socket, body: bytes) -> float:
    head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(body)}\r\n\r\n"
    message = head.encode() + body
    began = time.perf_counter()
    stream.sendall(message)
    answer = stream.recv(1 << 16)  # a few bytes, which come in one piece
    took_us = (time.perf_counter() - began) * 1e6
    if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"}"):
        raise RuntimeError(f"the worker answered {answer[:200]!r}")
    return took_us


def _model(folder: Path, image: NDArray[np.float32]) -> Path:
    """A model in the zoo's form: its only version, and the request that the bare run is fed with."""
    sys.path.insert(0, str(ROOT))
    from tests.graphs import mean_of_all  # noqa: PLC0415 - found only now

    mean_of_all(folder / "1")
    golden: dict[str, Any] = {"in.x": image[np.newaxis]}
    np.savez(folder / "golden.npz", **golden)
    return folder


def _body(array: NDArray[np.float32]) -> bytes:
    return orjson.dumps({"inputs": array}, option=orjson.OPT_SERIALIZE_NUMPY)


@contextlib.contextmanager
def _serving(bundle: Path, model: Path, folder: Path) -> Iterator[Path]:
    """A runtime with one worker; gives its socket."""
    command = [sys.executable, "-I", str(ROOT / "images" / "runtime"), "serve", "--name", NAME, "--model-version", "1"]
    command += ["--bundle", str(bundle), "--model", str(model / "1"), "--sockets", str(folder), "--threads", "2"]
    runtime = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while not (folder / "ready.json").exists():
            if runtime.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the runtime did not become ready")
            time.sleep(0.05)
        yield folder / "worker-0.sock"
    finally:
        runtime.terminate()
        runtime.wait(timeout=30)


def main() -> None:
    """Prints the figures for both forms."""
    from stopgap import bundles  # noqa: PLC0415 - `bench/run.py` brings its own

    bundle = bundles.ensure("tf-1.15.5").path
    print(json.dumps({form: rest_json(bundle, nested=form == "nested") for form in ("nested", "flat")}, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
