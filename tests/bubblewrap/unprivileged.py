"""A user without rights, made for a test and gone after it, with a copy of all that it needs in its home."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import site
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path
from stopgap import bundles, roots

__all__ = ["User", "readable_python", "temporary_user"]

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 900
COPIED = ("orchestrator", "protos", "images", "tests", "tools", "docs", "pyproject.toml")
# What no test here imports, and is large.
LEFT_OUT = ("tensorflow*", "keras*", "clang*", "envoy*", "mypy*", "*__mypyc*", "h5py*", "pip*", "ruff*", "__pycache__")


@dataclass(frozen=True)
class User:
    """Somebody who can run Python with this tree's code, and nothing else.

    Attributes:
        python: A Python of the version that runs the tests, which everybody may execute.
    """

    name: str
    home: Path
    python: Path

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs Python with these arguments in the copy of this tree."""
        paths = ("packages", "orchestrator", "protos", "linked", "")
        return subprocess.run(
            ["setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--init-groups", self.python, *arguments],
            cwd=self.home / "tree",
            env={
                "HOME": str(self.home),
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "PYTHONPATH": os.pathsep.join(str(self.home / "tree" / path) for path in paths),
                "PYTHONDONTWRITEBYTECODE": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )


def readable_python() -> Path | None:
    """One that everybody may execute, of the version for which this one's packages are made."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = (Path(sys.base_prefix) / "bin" / name, Path("/usr/local/bin") / name, Path("/usr/bin") / name)
    return next((path for path in candidates if path.exists() and is_open(path.resolve())), None)


def is_open(path: Path) -> bool:
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (path, *path.parents))


@contextmanager
def temporary_user(python: Path) -> Iterator[User]:
    """Makes it, and takes it away with its home and with whatever of it still runs."""
    name = f"stopgap-test-{os.getpid()}"
    subprocess.run(["useradd", "--create-home", "--user-group", "--shell", "/usr/sbin/nologin", name], check=True)
    account = pwd.getpwnam(name)
    try:
        user = User(name, Path(account.pw_dir), python)
        furnish(user, account)
        yield user
    finally:
        end_all_of(account.pw_uid)
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


def furnish(user: User, account: pwd.struct_passwd) -> None:
    tree = user.home / "tree"
    tree.mkdir()
    for name in COPIED:
        copy(ROOT / name, tree / name)
    for folder in site.getsitepackages():
        copy(Path(folder), tree / "packages")
    (tree / "linked").mkdir()
    (tree / "linked" / "stopgap_images").symlink_to(tree / "images")
    cache = user_cache_path("stopgap")
    legacy = roots.ensure("legacy", bundles.ensure("tf-1.15.5"), lambda _: None)
    for path in (cache / "bundles", *(cache / "roots").glob("front-*"), legacy):
        copy(path, user.home / ".cache" / "stopgap" / path.relative_to(cache))
    for path in (user.home, *user.home.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)
    elif source.exists():
        shutil.copy2(source, target)


def end_all_of(uid: int) -> None:
    deadline = time.monotonic() + 10
    while pids := processes_of(uid):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes of uid {uid} do not end: {pids}")
        time.sleep(0.05)


def processes_of(uid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.stat().st_uid == uid:
                found.append(int(folder.name))
    return found
