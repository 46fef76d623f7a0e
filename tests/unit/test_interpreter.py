"""Which Python runs the runtime without Docker: real ones, found as a user's are, and programs that only look so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stopgap import interpreter as interpreters
from stopgap.errors import EngineError
from stopgap.interpreter import NEWEST, OLDEST, examined, interpreter

SYSTEM_PYTHON = Path("/usr/bin/python3.11")
GOOD = {
    "implementation": "cpython",
    "version": [3, 12, 4],
    "abiflags": "",
    "executable": sys.executable,
    "prefix": sys.base_prefix,
    "library": os.path.dirname(os.__file__),  # noqa: PTH120 - a string, as a program prints it
}


def pretending(folder: Path, name: str, **differences: object) -> Path:
    """A program that answers as a Python does, but for the differences."""
    return program(folder, name, f"cat <<'END'\n{json.dumps({**GOOD, **differences})}\nEND")


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def search(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Leaves these folders alone to look in, as if stopgap ran under a Python that will not do."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    monkeypatch.setenv("PATH", os.pathsep.join(["/bin", *map(str, folders)]))


def test_the_python_that_runs_stopgap_is_taken_without_its_virtual_environment() -> None:
    found = interpreter()
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.series == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert found.prefix == Path(sys.base_prefix).resolve()
    assert found.executable == found.executable.resolve()
    assert found.prefix in found.executable.parents
    assert not (found.executable.parent.parent / "pyvenv.cfg").exists()


@pytest.mark.parametrize("how", ["--symlinks", "--copies"])
def test_a_virtual_environment_leads_to_the_python_that_it_was_made_by(tmp_path: Path, how: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", how, tmp_path / "venv"], check=True, timeout=60)
    assert examined(tmp_path / "venv" / "bin" / "python") == interpreter()


def test_what_was_found_starts_alone(tmp_path: Path) -> None:
    """From another folder, with nothing in its environment: as in a sandbox."""
    found = interpreter()
    said = subprocess.run(
        [found.executable, "-I", "-c", "import ctypes, mmap, sys; print(sys.prefix, *sys.version_info[:3])"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert said.stdout.split() == [str(found.prefix), *found.version.split(".")]


def test_the_systems_own_is_found_where_stopgap_runs_under_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SYSTEM_PYTHON.exists(), "sudo apt-get install python3.11"
    search(monkeypatch, Path("/usr/bin"))
    found = interpreter()
    assert (found.executable, found.prefix, found.series) == (SYSTEM_PYTHON, Path("/usr"), "3.11")


def test_the_newest_on_the_path_is_taken_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretending(tmp_path / "a", "python3.11", version=[3, 11, 9])
    pretending(tmp_path / "b", "python3.13", version=[3, 13, 1])
    pretending(tmp_path / "b", "python3", version=[3, 14, 0])
    search(monkeypatch, tmp_path / "a", tmp_path / "b")
    assert interpreter().version == "3.13.1"


def test_a_shim_that_runs_nothing_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "shims", "python3.13", "echo 'python3.13: command not found' >&2; exit 127")
    pretending(tmp_path / "real", "python3.13", version=[3, 13, 1])
    search(monkeypatch, tmp_path / "shims", tmp_path / "real")
    assert interpreter().version == "3.13.1"


@pytest.mark.parametrize(
    "differences",
    [
        {"version": [3, OLDEST[1] - 1, 13]},
        {"version": [3, NEWEST[1] + 1, 0]},
        {"implementation": "pypy"},
        {"abiflags": "t"},
        {"prefix": "/"},
        {"prefix": str(Path.home())},
        {"prefix": str(Path.home() / ".local")},
    ],
    ids=["too old", "too new", "another implementation", "free-threaded", "the whole disk", "a home", "~/.local"],
)
def test_what_will_not_do_is_no_interpreter(tmp_path: Path, differences: dict[str, object]) -> None:
    assert examined(pretending(tmp_path, "python3.12")) is not None
    assert examined(pretending(tmp_path, "python3.12", **differences)) is None


@pytest.mark.parametrize(
    "script", ["exit 1", "echo hello", "echo '[1]'", "kill -9 $$"], ids=["fails", "chatters", "other JSON", "dies"]
)
def test_what_only_has_the_name_is_no_interpreter(tmp_path: Path, script: str) -> None:
    assert examined(program(tmp_path, "python3.12", script)) is None


def test_what_never_answers_is_no_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "ANSWER_TIMEOUT_S", 0.2)
    assert examined(program(tmp_path, "python3.12", "exec sleep 60")) is None


@pytest.mark.parametrize(("uid", "taken"), [(0, False), (1000, True)], ids=["root", "user"])
def test_what_root_alone_may_read_will_do_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, taken: bool
) -> None:
    """A sandbox that root starts has a uid of its own."""
    prefix = tmp_path / "python"
    prefix.mkdir(mode=0o700)
    candidate = pretending(tmp_path, "python3.12", prefix=str(prefix))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert (examined(candidate) is not None) == taken


def test_where_there_is_none_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"needs CPython 3\.11 to 3\.14") as raised:
        interpreter()
    assert "apt-get install python3.11" in raised.value.remedy
