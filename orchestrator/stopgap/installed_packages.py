"""Which of the host's packages files belong to, as dpkg knows it; of a host without dpkg, nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Installed", "owners"]

TIMEOUT_S = 60.0
QUERY = "dpkg-query"
COMPILED = re.compile(r"__pycache__/(\w+)\.[\w-]+\.pyc$")


@dataclass(frozen=True)
class Installed:
    """An installed package."""

    name: str
    version: str
    architecture: str


def owners(paths: Iterable[str]) -> dict[str, Installed]:
    """By path; those that no package owns are left out. Bytecode belongs to whose source it was compiled from."""
    if shutil.which(QUERY) is None:
        return {}
    known_as = {path: COMPILED.sub(r"\1.py", path) for path in paths}
    asked = sorted({name for path in known_as.values() for name in spellings(path)})
    names = dict(searched(asked))
    packages = installed(set(names.values()))
    found = {}
    for path, known in known_as.items():
        name = next((names[each] for each in spellings(known) if each in names), None)
        if name in packages:
            found[path] = packages[name]
    return found


def spellings(path: str) -> tuple[str, ...]:
    """Dpkg knows a file by the name that its package has for it, which may be older than /lib as a link to /usr/lib."""
    return (path, path[len("/usr") :]) if path.startswith("/usr/") else (path,)


def searched(paths: list[str]) -> Iterable[tuple[str, str]]:
    """A path and the package that it is of, `libc6:amd64`."""
    for line in query("--search", *paths).splitlines():
        packages, colon, path = line.rpartition(": ")
        if colon and not packages.startswith("diversion "):
            yield path, packages.partition(",")[0]


def installed(names: set[str]) -> dict[str, Installed]:
    """By the names that `searched` gives."""
    shown = "${binary:Package}\t${Package}\t${Version}\t${Architecture}\n"
    lines = query("--show", f"--showformat={shown}", *sorted(names)).splitlines() if names else []
    rows = [line.split("\t") for line in lines]
    return {key: Installed(*fields) for full, *fields in rows for key in (full, fields[0])}


def query(*words: str) -> str:
    """What it says; that it does not know some of the names is no failure."""
    done = subprocess.run(
        [QUERY, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return done.stdout
