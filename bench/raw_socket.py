"""The worker's own socket, as the front uses it: HTTP/1.1 with gRPC framing, one connection kept open."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

PREDICT = "/tensorflow.serving.PredictionService/Predict"
_END = b"grpc-status: 0\r\n\r\n"


def socket_latencies_us(path: Path, request: bytes, calls: int) -> list[float]:
    """The latency of each of `calls` requests, in microseconds.

    Raises:
        RuntimeError: A request failed.
    """
    frame = struct.pack(">BI", 0, len(request)) + request
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/grpc\r\ncontent-length: {len(frame)}"
    message = head.encode() + b"\r\n\r\n" + frame
    with connected(path) as stream:
        return [_timed_us(stream, message) for _ in range(calls)]


def connected(path: Path) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    folder = os.open(path.parent, os.O_PATH)
    try:
        stream.connect(f"/proc/self/fd/{folder}/{path.name}")  # a socket's own path may have 107 bytes at most
    finally:
        os.close(folder)
    return stream


def _timed_us(stream: socket.socket, message: bytes) -> float:
    began = time.perf_counter()
    stream.sendall(message)
    answer = stream.recv(1 << 16)
    while not answer.endswith(_END):
        if not (more := stream.recv(1 << 16)) or b"grpc-status: " in answer:
            raise RuntimeError(f"the worker answered {answer[:200]!r}")
        answer += more
    return (time.perf_counter() - began) * 1e6
