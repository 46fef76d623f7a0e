"""A temporary user without rights, for whom stopgap is installed as for anybody: what root can do proves little.

Making one needs root, and Debian's python3.11 with its venv; without them a test fails, and none is skipped.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from stopgap import bundles, ingredients

__all__ = ["ROOT", "SYSTEM_PYTHON", "Person", "unprivileged_user"]

ROOT = Path(__file__).parents[1]
SYSTEM_PYTHON = Path("/usr/bin/python3.11")
NOT_COPIED = (".git", ".venv", "build", "dist", ".*_cache", "*.egg-info", ".hypothesis", "__pycache__")
LOCKS = ("requirements/orchestrator.txt", "images/runtime/requirements.txt", "images/front/requirements.txt")
SHARED_FOLDERS = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - where a user may leave files
INSTALL_TIMEOUT_S = 300
END_TIMEOUT_S = 20


@dataclass(frozen=True)
class Person:
    """The user.

    Attributes:
        home: Closed to everybody else, as the caches below it are.
        environment: What a login would give, and pip told to take wheels from the home alone.
    """

    name: str
    uid: int
    gid: int
    home: Path
    environment: Mapping[str, str] = field(repr=False)

    @property
    def tree(self) -> Path:
        """A copy of the source tree."""
        return self.home / "stopgap"

    @property
    def python(self) -> Path:
        """Of the virtual environment that stopgap is installed in."""
        return self.home / "venv" / "bin" / "python"

    @property
    def stopgap(self) -> Path:
        """The command."""
        return self.python.with_name("stopgap")

    def run(
        self,
        *command: str | Path,
        timeout_s: float = 60,
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as the user, in the home; with `check`, one that fails is an error that shows what it said."""
        done = subprocess.run(
            command,
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            umask=0o077,
            cwd=self.home,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            start_new_session=True,
        )
        assert not check or done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def processes(self) -> list[int]:
        """The ids of all that runs as the user, zombies left out."""
        found = []
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):  # it has ended meanwhile
                fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
                if str(self.uid) in fields["Uid"].split() and not fields["State"].startswith("Z"):
                    found.append(int(status.parent.name))
        return found


@contextmanager
def unprivileged_user(*bundle_names: str) -> Iterator[Person]:
    """A new user with stopgap and these bundles; in the end the user goes, with all processes and files."""
    assert os.geteuid() == 0, "making a user without rights needs root"
    name = f"stopgap-{secrets.token_hex(2)}"
    _tool("useradd", "--create-home", "--home-dir", f"/home/{name}", "--shell", "/bin/sh", name)
    home = Path(f"/home/{name}")
    person = Person(name, home.stat().st_uid, home.stat().st_gid, home, _environment(name, home))
    try:
        home.chmod(0o700)
        _give(person, bundle_names)
        _install(person)
        yield person
    finally:
        _remove(person)


def _environment(name: str, home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "USER": name,
        "LOGNAME": name,
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        "PATH": f"{home}/venv/bin:/usr/local/bin:/usr/bin:/bin",
        "TMPDIR": str(home / "tmp"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(home / "wheels"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def _give(person: Person, bundle_names: tuple[str, ...]) -> None:
    """The tree, the wheels that the locks name, stopgap's own, and the bundles: copies, a link would stay root's."""
    wheels, cache = person.home / "wheels", person.home / ".cache" / "stopgap" / "bundles"
    (person.home / "tmp").mkdir()
    shutil.copytree(ROOT, person.tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    exactly = ["--no-deps", "--only-binary=:all:", "--require-hashes", *ingredients.target("3.11").options()]
    for lock in LOCKS:
        _tool(*pip, "download", "--dest", str(wheels), *exactly, "--requirement", str(ROOT / lock))
    built = person.home / "tmp" / "built"  # a copy of its own: setuptools leaves things behind
    shutil.copytree(person.tree, built)
    _tool(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(wheels), str(built))
    shutil.rmtree(built)
    for name in bundle_names:
        shutil.copytree(bundles.ensure(name).path, cache / name)
    _tool("chown", "--recursive", f"{person.uid}:{person.gid}", str(person.home))


def _install(person: Person) -> None:
    """As the user, for the system's Python."""
    person.run(SYSTEM_PYTHON, "-m", "venv", person.home / "venv", timeout_s=INSTALL_TIMEOUT_S)
    install = [str(person.python), "-m", "pip", "install", "--quiet", "--no-deps"]
    locked = ["--require-hashes", "--requirement", str(person.tree / LOCKS[0])]
    person.run(*install, *locked, timeout_s=INSTALL_TIMEOUT_S)
    person.run(*install, "stopgap", timeout_s=INSTALL_TIMEOUT_S)


def _tool(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S)
    assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"


def _remove(person: Person) -> None:
    deadline = time.monotonic() + END_TIMEOUT_S
    while left := person.processes():
        assert time.monotonic() < deadline, f"processes of {person.name} do not end: {left}"
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for folder in SHARED_FOLDERS:
        for entry in folder.iterdir():
            if entry.lstat().st_uid == person.uid:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    _tool("userdel", "--remove", person.name)
