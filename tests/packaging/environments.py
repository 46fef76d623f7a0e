"""Virtual environments with stopgap as people install it; of the repository they find its tests alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests import pythons
from tests.packaging.distributions import ROOT

__all__ = ["Environment", "beside_development", "clean", "locked"]

KEPT = ROOT / "build" / "pythons"
TESTS_ALONE = KEPT / "tests_alone"
TIMEOUT_S = 600  # the first to load a model fetches TensorFlow and builds the images


@dataclass(frozen=True)
class Environment:
    """A Python with its packages.

    Attributes:
        python: Its program.
        site: Where stopgap is installed, or will be.
        variables: What else its processes have in their environment.
    """

    python: Path
    site: Path
    variables: Mapping[str, str]

    @property
    def stopgap(self) -> Path:
        """The command that stopgap's installation put there."""
        return self.python.with_name("stopgap")

    def run(self, *command: str | Path, cwd: Path) -> str:
        """Gives what a command prints; it must not fail."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**inherited, **self.variables},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def call(self, caller: str, *arguments: str, cwd: Path) -> None:
        """Runs a module of `tests/packaging/callers`, with every warning an error."""
        where = self.run(self.python, "-c", "import stopgap; print(stopgap.__file__)", cwd=cwd).strip()
        assert Path(where).is_relative_to(self.site), "another stopgap than the installed one"
        self.run(self.python, "-W", "error", "-m", f"tests.packaging.callers.{caller}", *arguments, cwd=cwd)

    def install(self, *arguments: str | Path) -> None:
        """As people do, by pip."""
        quiet = ("--quiet", "--disable-pip-version-check")
        self.run(self.python, "-m", "pip", "install", *quiet, *arguments, cwd=self.python.parent)


def clean(folder: Path, python: Path = Path(sys.executable)) -> Environment:
    """A new one, with nothing in it but pip."""
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True, timeout=TIMEOUT_S)
    return existing(folder)


def existing(folder: Path) -> Environment:
    return Environment(folder / "bin" / "python", folder, {"PYTHONPATH": tests_alone()})


def locked(series: str, wheel: Path) -> Environment:
    """One with the packages that the series' lock names, and the wheel; kept under build/ until the lock changes."""
    lock = ROOT / "requirements" / f"python{series}.txt"
    python = pythons.found(series)
    assert python is not None
    digest = hashlib.sha256(f"{python}\n".encode() + lock.read_bytes()).hexdigest()
    stamp = KEPT / series / "lock.sha256"
    if not stamp.exists() or stamp.read_text() != digest:
        clean(KEPT / series, python).install("--require-hashes", "--requirement", lock)
        stamp.write_text(digest)
    environment = existing(KEPT / series)
    environment.install("--no-deps", "--force-reinstall", wheel)
    return environment


def beside_development(folder: Path, wheel: Path) -> Environment:
    """The wheel in a new folder, which comes before the packages of the tests' own Python: TensorFlow 2 is there."""
    path = f"{folder}{os.pathsep}{tests_alone()}"
    environment = Environment(Path(sys.executable), folder, {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"})
    environment.install("--no-deps", "--target", folder, wheel)
    return environment


def tests_alone() -> str:
    """A folder in which Python finds `tests`, but not the rest of the repository, nor its metadata."""
    TESTS_ALONE.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        (TESTS_ALONE / "tests").symlink_to(ROOT / "tests")
    return str(TESTS_ALONE)
