"""Which Python runs the runtime where no image brings one: this one, or another that is on the path."""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from stopgap.errors import EngineError

__all__ = ["NEWEST", "OLDEST", "Interpreter", "interpreter"]

# The runtime's code needs the first; for what is newer than the last, its locked packages have no wheels.
OLDEST = (3, 11)
NEWEST = (3, 14)

ANSWER_TIMEOUT_S = 30.0

FIRST_PERSON = 1000  # the uids below are the system's own, whose homes are folders such as /usr/games

# Asked of each candidate. A Debian package, python3.11-minimal, has no ctypes; a shim of pyenv's runs nothing at all
# where its version is not the chosen one; free-threaded builds (`t` in abiflags) need other wheels.
QUESTION = """
import ctypes, json, sys, sysconfig
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": sys.version_info[:3],
    "abiflags": sys.abiflags,
    "executable": getattr(sys, "_base_executable", "") or sys.executable,
    "prefix": sys.base_prefix,
    "library": sysconfig.get_path("stdlib"),
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A CPython that can run the runtime.

    Attributes:
        executable: Without links, and not a virtual environment's.
        prefix: The folder that it was installed into: all that it needs, but for the system's libraries, is below.
        version: For example `3.11.7`.
    """

    executable: Path
    prefix: Path
    version: str

    @property
    def series(self) -> str:
        """What wheels are made for, e.g. `3.11`."""
        return self.version.rpartition(".")[0]


def interpreter() -> Interpreter:
    """The Python that runs stopgap where it will do, else the newest on the path that will.

    Raises:
        EngineError: None will; says what to install.
    """
    for candidate in candidates():
        found = examined(candidate)
        if found:
            return found
    oldest, newest = written(OLDEST), written(NEWEST)
    raise EngineError(
        f"Without Docker the runtime needs CPython {oldest} to {newest}, and none is on the path that it can use.",
        f"Install one: sudo apt-get install python{oldest} (Debian 12), or any of python{oldest} to python{newest}.",
    )


def candidates() -> Iterator[Path]:
    """This one first, then by version, the newest first; each name wherever it is on the path."""
    if sys.executable:
        yield Path(sys.executable)
    minors = range(NEWEST[1], OLDEST[1] - 1, -1)
    for name in (*(f"python3.{minor}" for minor in minors), "python3"):
        for folder in os.get_exec_path():
            path = Path(folder or os.curdir, name)
            if path.is_file() and os.access(path, os.X_OK):
                yield path


def examined(candidate: Path) -> Interpreter | None:
    """What the program says of itself; None where it is no Python, is too old or too new, or cannot be shown inside."""
    said = answer(candidate)
    if said is None:
        return None
    version = tuple(said["version"])
    if said["implementation"] != "cpython" or said["abiflags"] or not OLDEST <= version[:2] <= NEWEST:
        return None
    executable, prefix = Path(said["executable"]).resolve(), Path(said["prefix"]).resolve()
    if holds_private_data(prefix) or not readable_inside(prefix, executable, Path(said["library"])):
        return None
    return Interpreter(executable, prefix, written(version))


def answer(candidate: Path) -> dict[str, Any] | None:
    try:
        done = subprocess.run(
            [candidate, "-I", "-c", QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_TIMEOUT_S,
            check=False,
        )
        said = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return said if isinstance(said, dict) else None


def holds_private_data(prefix: Path) -> bool:
    """Whether showing the prefix would show somebody's home: one that was installed into ~ or ~/.local, say."""
    people = (user for user in pwd.getpwall() if user.pw_uid == 0 or user.pw_uid >= FIRST_PERSON)
    homes = {Path(user.pw_dir) for user in people if user.pw_dir}
    private = [path.resolve() for path in (*homes, Path.home(), user_data_path())]
    return any(path == prefix or prefix in path.parents for path in private if path.parent != path)


def readable_inside(*paths: Path) -> bool:
    """Root's sandboxes have a uid of their own, to which what root alone may read is closed."""
    everybody = stat.S_IROTH | stat.S_IXOTH
    return os.geteuid() != 0 or all(path.stat().st_mode & everybody == everybody for path in paths)


def written(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
