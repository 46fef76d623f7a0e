"""What people install, built as `make dist` builds it, from a copy of this tree with all that lies about in one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Distributions", "built"]

ROOT = Path(__file__).parents[2]
# Other tests may write into the caches meanwhile.
NOT_COPIED = (".git", ".venv", "build", "dist", "*.egg-info", ".hypothesis", ".*_cache", "__pycache__")
BUILD_TIMEOUT_S = 120


@dataclass(frozen=True)
class Distributions:
    """The sdist, and the wheel that was built from it."""

    sdist: Path
    wheel: Path

    def in_wheel(self) -> set[str]:
        """The names of the wheel's files."""
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def in_sdist(self) -> set[str]:
        """The names of the sdist's files, without the folder that all of them are in."""
        with tarfile.open(self.sdist) as archive:
            return {member.name.partition("/")[2] for member in archive if member.isfile()}


def built(folder: Path) -> Distributions:
    """Both, in a new folder."""
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for tree in ("orchestrator/stopgap", "protos/stopgap_protos", "images/runtime/stopgap_runtime"):
        cache = source / tree / "__pycache__"
        cache.mkdir(exist_ok=True)
        (cache / "left.cpython-311.pyc").touch()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "is absent from the `packages` configuration" not in done.stdout + done.stderr
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    return Distributions(sdist, wheel)
