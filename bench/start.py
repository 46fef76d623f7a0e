"""How long things take to be there: TensorFlow's library, and a worker in place of one that was killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from deployed import Deployed
from raw_socket import socket_latencies_us
from stopgap.containment.specs import sandbox_container

ROOT = Path(__file__).resolve().parents[1]
LOAD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from stopgap_runtime.capi import TensorFlow
began = time.perf_counter()
TensorFlow.load(Path(sys.argv[2]))
print(time.perf_counter() - began)
"""


def bundle_load_s(bundle: Path) -> float:
    """Loading TensorFlow 1.15's library into a fresh process, without the process's own start."""
    command = [sys.executable, "-c", LOAD, str(ROOT / "images" / "runtime"), str(bundle)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def worker_replaced_s(deployed: Deployed) -> float:
    """From the kill of the only worker to the answer of the request that came right after: it waits in the queue."""
    sys.path.insert(0, str(ROOT))
    from tests.backstage import backstage, children_of  # noqa: PLC0415 - found only now

    container = backstage("docker", deployed.store.folder).first_process(sandbox_container(deployed.name))
    (worker,) = children_of(container)
    descriptor = os.pidfd_open(worker)
    began = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    select.select([descriptor], [], [])  # until it has gone: before, it might still take a connection and drop it
    os.close(descriptor)
    socket_latencies_us(deployed.socket, deployed.request, 1)
    return time.monotonic() - began
