"""`handwritten_server.py`, started in an environment of its own; there is none where Python 3.7 is not."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stopgap.client.channel import ServingChannel
from stopgap_protos.serving_pb2 import PredictRequest

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / "build" / "handwritten_py37"
REQUIREMENTS = ROOT / "requirements" / "handwritten_py37.txt"
MIB = 1 << 20


@dataclass(frozen=True)
class Handwritten:
    """The server as it runs."""

    address: str
    process: subprocess.Popen[str]

    def memory_mib(self) -> float:
        """What is resident of it."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * 4096 / MIB


@contextmanager
def handwritten(model: Path, request: bytes) -> Iterator[Handwritten | None]:
    """The server on one version's folder, having answered once; None where no Python 3.7 answers."""
    python = _environment()
    if python is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = Path(__file__).with_name("handwritten_server.py")
    command = [str(python), str(server), str(model), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError("the handwritten server did not start")
        running = Handwritten(f"127.0.0.1:{port}", process)
        with ServingChannel(running.address) as channel:
            channel.predict(PredictRequest.FromString(request), timeout_s=30)  # h2load would not see an error
        yield running
    finally:
        process.terminate()
        process.wait(timeout=30)


def _environment() -> Path | None:
    """Its interpreter, with all that is locked by hash; made once."""
    sys.path.insert(0, str(ROOT))
    from tests.pythons import found  # noqa: PLC0415 - found only now

    base = found("3.7")
    if base is None:
        return None
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / ".installed"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        subprocess.run([base, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([python, *install, "-r", REQUIREMENTS], check=True)
        stamp.write_text(REQUIREMENTS.read_text())
    return python
