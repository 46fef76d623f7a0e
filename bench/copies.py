"""Ten megabytes in one request: what the copies cost, against what a Unix socket costs that moves as many bytes.

The model gives the mean of what it gets, so that nearly all is moving: 10 MB there, some bytes back.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FLOATS = 2_500_000
PIECE = 1 << 20


def large_model(folder: Path) -> Path:
    """The model in the zoo's form: its only version, and the request that it gets."""
    sys.path.insert(0, str(ROOT))
    from tests.graphs import mean_of_all  # noqa: PLC0415 - found only now

    mean_of_all(folder / "1")
    image = np.random.default_rng(0).random((1, FLOATS), np.float32)
    np.savez(folder / "golden.npz", **{"in.x": image})  # type: ignore[arg-type]  # its own keywords come later
    return folder


def unix_copy_us(calls: int) -> list[float]:
    """The latency of as many bytes from one process to another over a socket pair, and one byte back."""
    payload = bytes(4 * FLOATS)
    near, far = socket.socketpair()
    child = os.fork()
    if child == 0:
        near.close()
        _swallow(far, len(payload))
    far.close()
    with near:
        latencies = [_sent_us(near, payload) for _ in range(calls)]
    os.waitpid(child, 0)
    return latencies


def _sent_us(stream: socket.socket, payload: bytes) -> float:
    began = time.perf_counter()
    stream.sendall(payload)
    stream.recv(1)
    return (time.perf_counter() - began) * 1e6


def _swallow(stream: socket.socket, size: int) -> None:
    try:
        left = size
        while data := stream.recv(PIECE):
            left -= len(data)
            if left == 0:
                stream.sendall(b".")
                left = size
    finally:
        os._exit(0)


def wakeups_us(work_us: float, calls: int) -> dict[str, float]:
    """What it costs to wake another process and to be woken: a byte there and back, without the work in between.

    Args:
        work_us: How long the other one is busy before it answers: on how long a core has slept depends how it wakes.

    Returns:
        By where the two run: on `one_core`, or on `two_cores`, of which each sleeps while the other works.
    """
    allowed = sorted(os.sched_getaffinity(0))
    try:
        return {
            "one_core": _wakeups_us(work_us, calls, allowed[0], allowed[0]),
            "two_cores": _wakeups_us(work_us, calls, allowed[0], allowed[-1]),
        }
    finally:
        os.sched_setaffinity(0, allowed)


def _wakeups_us(work_us: float, calls: int, ours: int, theirs: int) -> float:
    near, far = socket.socketpair()
    child = os.fork()
    if child == 0:
        near.close()
        os.sched_setaffinity(0, {theirs})
        _answer_after(far, work_us)
    far.close()
    os.sched_setaffinity(0, {ours})
    with near:
        median = statistics.median(_sent_us(near, b".") for _ in range(calls))
    os.waitpid(child, 0)
    return median - work_us


def _answer_after(stream: socket.socket, work_us: float) -> None:
    try:
        while stream.recv(1):
            end = time.perf_counter() + work_us / 1e6
            while time.perf_counter() < end:
                pass
            stream.sendall(b".")
    finally:
        os._exit(0)
