"""Gets wheels through pip, so that the user's own index settings hold, and only by hash; knows no TensorFlow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from stopgap.digests import sha256_of
from stopgap.errors import BundleError, ImageError

__all__ = ["RECORD", "Target", "download", "install"]

RECORD = "wheels.sha256"

_POLL_S = 0.2
# --ignore-requires-python: pips before 23.1 hold a wheel's Python against their own, not against the target's.
# What fits the target was decided when the lock was made.
_EXACTLY = ("--no-deps", "--only-binary=:all:", "--ignore-requires-python")


@dataclass(frozen=True)
class Target:
    """The Python that wheels are for, which need not be the one that runs pip.

    Attributes:
        python, abi, platforms: In the form that pip's options take, e.g. `3.11`, `cp311`, `manylinux_2_28_x86_64`.
    """

    python: str
    abi: str
    platforms: tuple[str, ...]

    def options(self) -> list[str]:
        """As pip's options."""
        options = ["--python-version", self.python, "--implementation", "cp", "--abi", self.abi]
        for platform in self.platforms:
            options += ["--platform", platform]
        return options


class _PipFailedError(Exception):
    """What pip said, in our words; each public function turns it into its caller's error."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def download(
    requirement: str, sha256: str, target: Target, into: Path, on_bytes: Callable[[int], None] = lambda _: None
) -> Path:
    """Fetches one wheel; returns its path inside `into`, an existing folder that holds pip's temporary files too.

    While it arrives, `on_bytes` is called several times a second with the number of bytes that are there.

    Raises:
        BundleError: pip could not get it, or got something else than the hash promises.
    """
    locked = into / "requirements.txt"
    locked.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    arrived = into / "wheel"
    arrived.mkdir()
    arguments = ["download", "--dest", str(arrived), *_locked(locked), *target.options()]
    try:
        _run_pip(arguments, into, what=requirement, on_tick=lambda: on_bytes(_largest_file(into)))
    except _PipFailedError as failure:
        raise BundleError(failure.problem, failure.remedy) from failure
    return next(arrived.glob("*.whl"))


def install(locked: Path, target: Target, into: Path, scratch: Path) -> None:
    """Installs the wheels of the lock file `locked` into the folder `into`, for another Python than this one.

    Which wheels those were is written down beside what came out of them, in `RECORD`, as sha256sum writes and checks
    it: a lock allows several of each version. The wheels, and pip's temporary files, go to the existing folder
    `scratch`.

    Raises:
        ImageError: pip could not get them, or got something else than the hashes promise.
    """
    fetched = scratch / "wheels"
    what = f"the packages of {locked.parent.name}/{locked.name}"
    try:
        _run_pip(["download", "--dest", str(fetched), *_locked(locked), *target.options()], scratch, what)
        wheels = sorted(fetched.glob("*.whl"))
        # --no-user: a `user = true` in somebody's settings cannot be combined with --target.
        unpack = ["install", "--target", str(into), "--no-user", "--no-compile", "--no-index", *_EXACTLY]
        _run_pip([*unpack, *target.options(), *map(str, wheels)], scratch, what)
    except _PipFailedError as failure:
        raise ImageError(failure.problem, failure.remedy) from failure
    lines = [f"{sha256_of(wheel)}  {wheel.name}\n" for wheel in wheels]
    (into / RECORD).write_text("".join(lines), encoding="utf-8")


def _locked(requirements: Path) -> list[str]:
    return ["--require-hashes", *_EXACTLY, "--requirement", str(requirements)]


def _run_pip(arguments: list[str], scratch: Path, what: str, on_tick: Callable[[], None] = lambda: None) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--no-input", "--disable-pip-version-check"]
    with tempfile.TemporaryFile() as said:
        # In the scratch folder, so that no module of the user's working folder shadows one of pip's, and so that
        # whoever removes that folder removes everything that pip left there.
        process = subprocess.Popen(
            command, cwd=scratch, env=_environment(scratch), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            code = _wait(process, on_tick)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code != 0:
            said.seek(0)
            raise _explain(what, said.read().decode("utf-8", errors="replace"))


def _environment(scratch: Path) -> Mapping[str, str]:
    return {**os.environ, "TMPDIR": str(scratch), "PYTHONSAFEPATH": "1"}


def _wait(process: subprocess.Popen[bytes], on_tick: Callable[[], None]) -> int:
    while not _ended(process, within_s=_POLL_S):
        on_tick()
    return process.wait()


def _ended(process: subprocess.Popen[bytes], within_s: float) -> bool:
    try:
        process.wait(timeout=within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _largest_file(folder: Path) -> int:
    """The bytes of the wheel that is arriving, wherever pip keeps it meanwhile: everything else there is tiny."""
    paths = [Path(where, name) for where, _, names in os.walk(folder) for name in names]
    return max((_size(path) for path in paths), default=0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # pip has just moved it
        return 0


def _explain(what: str, said: str) -> _PipFailedError:
    if "DO NOT MATCH THE HASHES" in said:
        return _PipFailedError(
            f"The download of {what} does not have the SHA-256 that stopgap pins; it was thrown away.",
            "It was cut short or replaced on its way. Look at `pip config list`, run `pip cache purge`, and try again.",
        )
    if "No space left on device" in said:
        return _PipFailedError(f"The disk is full: {what} could not be fetched.", "Make room and try again.")
    if "No module named pip" in said:
        return _PipFailedError(
            f"{sys.executable} has no pip, which fetches {what}.", f"Type: {sys.executable} -m ensurepip --upgrade"
        )
    return _PipFailedError(
        f"pip could not fetch {what}: {_last_complaint(said)}",
        "Look at the network and at `pip config list`, and try again.",
    )


def _last_complaint(said: str) -> str:
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in said.splitlines()]
    complaints = [line for line in lines if line.startswith("ERROR:")] or [line for line in lines if line]
    return complaints[-1] if complaints else "it said nothing"
