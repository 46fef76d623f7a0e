"""nghttp2's h2load as the load generator: a client in C measures the server, where one in Python measures itself."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import orjson
from zoo_request import Arrays

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")


@dataclass(frozen=True)
class Exchange:
    """One request, to be sent again and again.

    Attributes:
        url: Where to; at a Unix socket its path alone counts.
        options: What h2load needs beside it.
    """

    url: str
    body: bytes
    headers: tuple[str, ...]
    options: tuple[str, ...] = ()


def over_grpc(address: str, request: bytes) -> Exchange:
    """A serialised PredictRequest to an address."""
    return Exchange(f"http://{address}{PREDICT}", framed(request), GRPC_HEADERS)


def over_socket(socket: Path, request: bytes) -> Exchange:
    """The same as the front sends it to a worker: HTTP/1.1 at its Unix socket."""
    options = ("--h1", f"--base-uri=unix:{socket}")
    return Exchange(f"http://bench{PREDICT}", framed(request), GRPC_HEADERS, options)


def over_rest(rest: str, name: str, inputs: Arrays) -> Exchange:
    """The same inputs by columns, as JSON over HTTP/1.1."""
    body = orjson.dumps({"inputs": dict(inputs)}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Exchange(f"{rest}/v1/models/{name}:predict", body, ("content-type: application/json",), ("--h1",))


def latencies_us(exchange: Exchange, calls: int) -> list[float]:
    """The latency of each of `calls` requests by one caller, in microseconds.

    Raises:
        RuntimeError: A request failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        _run(exchange, calls, 1, f"--log-file={log}")
        return [float(line.split("\t")[2]) for line in log.read_text().splitlines()]


def latencies_at_rate_us(exchange: Exchange, rate: int, seconds: int) -> list[float]:
    """The same at a rate that does not wait for answers: up to a hundred requests are on their way at once.

    Raises:
        RuntimeError: A request failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        _run(exchange, rate * seconds, 1, f"--log-file={log}", f"--rps={rate}", most=100)
        return [float(line.split("\t")[2]) for line in log.read_text().splitlines()]


def requests_per_s(exchange: Exchange, *, callers: int, calls: int = 8000) -> float:
    """The throughput with several callers, each with a connection of its own and one request at a time.

    Raises:
        RuntimeError: A request failed.
    """
    report = _run(exchange, calls, callers)
    found = re.search(r"finished in [^,]*, ([\d.]+) req/s", report)
    if not found:
        raise RuntimeError(f"h2load's report has no rate:\n{report}")
    return float(found[1])


def framed(message: bytes) -> bytes:
    """GRPC's five bytes, then the message."""
    return struct.pack(">BI", 0, len(message)) + message


def _run(exchange: Exchange, calls: int, callers: int, *options: str, most: int = 1) -> str:
    with tempfile.NamedTemporaryFile() as body:
        body.write(exchange.body)
        body.flush()
        command = ["h2load", f"-n{calls}", f"-c{callers}", f"-m{most}", f"-d{body.name}", *exchange.options, *options]
        command += [f"-H{header}" for header in exchange.headers]
        # Windows as large as the messages, so that a large one does not wait for the client to read on.
        command += ["--window-bits=30", "--connection-window-bits=30", exchange.url]
        report = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    if f"{calls} succeeded, 0 failed, 0 errored" not in report:
        raise RuntimeError(f"not every request succeeded:\n{report}")
    return report
