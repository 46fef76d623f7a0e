"""nghttp2's h2load as the load generator: a client in C measures the server, where one in Python measures itself."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from pathlib import Path

PREDICT = "/tensorflow.serving.PredictionService/Predict"


def latencies_us(address: str, request: bytes, calls: int) -> list[float]:
    """The latency of each of `calls` requests by one caller, in microseconds.

    Raises:
        RuntimeError: A request failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        _run(address, request, calls, 1, f"--log-file={log}")
        return [float(line.split("\t")[2]) for line in log.read_text().splitlines()]


def requests_per_s(address: str, request: bytes, *, callers: int, calls: int = 8000) -> float:
    """The throughput with several callers, each with a connection of its own and one request at a time.

    Raises:
        RuntimeError: A request failed.
    """
    report = _run(address, request, calls, callers)
    found = re.search(r"finished in [^,]*, ([\d.]+) req/s", report)
    if not found:
        raise RuntimeError(f"h2load's report has no rate:\n{report}")
    return float(found[1])


def _run(address: str, request: bytes, calls: int, callers: int, *options: str) -> str:
    with tempfile.NamedTemporaryFile() as body:
        body.write(struct.pack(">BI", 0, len(request)) + request)
        body.flush()
        command = ["h2load", f"-n{calls}", f"-c{callers}", "-m1", f"-d{body.name}", *options]
        command += ["-Hcontent-type: application/grpc", "-Hte: trailers", f"http://{address}{PREDICT}"]
        report = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    if f"{calls} succeeded, 0 failed, 0 errored" not in report:
        raise RuntimeError(f"not every request succeeded:\n{report}")
    return report
