"""What the demonstrations share: headings, commands as a user would type them, and ports that disturb nobody."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

__all__ = ["ROOT", "ZOO_MODEL", "chapter", "console", "free_port", "serve", "stopgap"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: the demo is the thing to read

ROOT = Path(__file__).resolve().parents[1]
ZOO_MODEL = ROOT / "tests" / "data" / "zoo" / "stn_affine_resampler"
STOPGAP = Path(sys.executable).with_name("stopgap")
console = Console(highlight=False)


def chapter(title: str) -> None:
    """Prints a heading."""
    console.print(f"\n[bold]{title}[/]")


def stopgap(*arguments: str, accepted: tuple[int, ...] = (0,)) -> int:
    """Runs a command as a user would type it, and gives its exit code.

    Args:
        accepted: Another exit code than these ends the demonstration.
    """
    console.print(f"$ stopgap {' '.join(arguments)}", soft_wrap=True)
    done = subprocess.run([STOPGAP, *arguments], check=False)
    if done.returncode not in accepted:
        raise SystemExit(f"stopgap {arguments[0]} has ended with {done.returncode}")
    return done.returncode


def serve(model: Path, name: str, port: int, *options: str) -> dict[str, Any]:
    """Starts a deployment on $ENGINE, if that is set, and gives what `stopgap serve --json` says of it."""
    began = time.monotonic()
    arguments = ["serve", str(model), "--name", name, "--port", str(port), *options, "--json"]
    engine = os.environ.get("ENGINE")
    if engine:
        arguments += ["--engine", engine]
    console.print(f"$ stopgap {' '.join(arguments)}", soft_wrap=True)
    answer = subprocess.run([STOPGAP, *arguments], stdout=subprocess.PIPE, check=True)
    deployment: dict[str, Any] = json.loads(answer.stdout)
    console.print_json(data=deployment)
    console.print(f"answers after {time.monotonic() - began:.1f} s")
    return deployment


def free_port() -> int:
    """A port that nobody listens on, nor on the next, which is REST's, so that the demo disturbs no deployment."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe, contextlib.suppress(OSError):
            port: int = probe.getsockname()[1]
            with socket.create_server(("127.0.0.1", port + 1)):
                return port
