"""The real `stopgap`, run as people run it, in a state folder of the test's own that is empty again at the end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stopgap.answering import model_answers
from stopgap.settings import Address

from tests import warm
from tests.backstage import Backstage, backstage

__all__ = ["Program", "free_port", "program_in"]

TIMEOUT_S = 600  # the first serve fetches TensorFlow and builds the images


@dataclass(frozen=True)
class Program:
    """`stopgap` with one state folder, one port and one engine.

    Attributes:
        state: Where it remembers its deployments.
        port: A port that was free a moment ago, for gRPC at the front; so was the next, which is REST's.
        engine: The one that `serve` is told to take.
    """

    state: Path
    port: int
    engine: str = "docker"

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port, self.port + 1)

    @property
    def backstage(self) -> Backstage:
        """What runs behind its deployments."""
        return backstage(self.engine, self.state)

    def at(self, name: str) -> tuple[str, ...]:
        """The options of `stopgap serve` that say under which name, at which port and on which engine."""
        return "--name", name, "--port", str(self.port), "--engine", self.engine

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return warm.run(arguments, self.environment(**environment), TIMEOUT_S)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        # A test run in a shell's background, or under nohup, inherits signals ignored, and so would the program; at a
        # terminal they are not.
        return subprocess.Popen(
            ["env", "--default-signal=INT,HUP", *self.command(*arguments)],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def serve(self, model: Path, name: str, *options: str) -> dict[str, Any]:
        """Serves, and gives what `--json` says."""
        done = self.run("serve", str(model), *self.at(name), "--json", *options)
        assert done.returncode == 0, done.stderr
        served: dict[str, Any] = json.loads(done.stdout)
        return served

    def refused(self, *arguments: str, code: int = 1, **environment: str) -> str:
        """What is said, flattened, of something that must fail without a traceback and without a result."""
        done = self.run(*arguments, **environment)
        assert done.returncode == code, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return " ".join(done.stderr.split())

    def status(self, name: str) -> dict[str, Any]:
        done = self.run("status", name, "--json")
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    def answers(self, name: str) -> bool:
        return model_answers(f"127.0.0.1:{self.port}", name, timeout_s=2)

    def leftovers(self) -> list[str]:
        """Containers, folders of sandboxes and fronts, and state files that are there."""
        found = self.backstage.containers()
        for pattern in ("deployments/*", "fronts/*"):
            found += [str(path) for path in self.state.glob(pattern)]
        return found

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-c", "from stopgap.cli.main import main; main()", *arguments]

    def environment(self, **changes: str) -> dict[str, str]:
        return {**os.environ, "STOPGAP_STATE": str(self.state), **changes}


@contextlib.contextmanager
def program_in(folder: Path, engine: str = "docker") -> Iterator[Program]:
    """Whatever the test left, failed or not, is gone afterwards."""
    program = Program(folder / "state", free_port(), engine)
    try:
        yield program
    finally:
        try:
            program.run("stop", "--all")
        finally:
            program.backstage.clear()


def free_port() -> int:
    """A port that is free, as is the next."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.suppress(OSError):
            port: int = listener.getsockname()[1]
            with socket.create_server(("127.0.0.1", port + 1)):
                return port
