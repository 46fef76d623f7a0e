"""The Pythons that stopgap is tried on, those of them that this machine has, and names in requirements."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["SERIES", "found", "named"]

# The oldest and the newest that are supported, those between, and 3.11, which the tests themselves run on. A test names
# the one that it needs with the marker `python`.
SERIES: Final = ("3.9", "3.10", "3.11", "3.12", "3.13")


def found(version: str) -> Path | None:
    """An interpreter of that version that runs: on PATH, or kept by pyenv."""
    return next((python for python in candidates(version) if runs(python)), None)


def candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    if on_path := shutil.which(name):
        yield Path(on_path)
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False).stdout.strip()
        yield from sorted(Path(root, "versions").glob(f"{version}.*/bin/{name}"))


def runs(python: Path) -> bool:
    return subprocess.run([python, "-V"], capture_output=True, check=False).returncode == 0


def named(requirement: str) -> str:
    """The distribution that a requirement is for."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return match[0].lower().replace("_", "-") if match else ""
