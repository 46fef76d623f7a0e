"""The user whom other tests borrow really has no rights, really has stopgap, and really is gone afterwards."""

from __future__ import annotations

import pwd
import subprocess
from pathlib import Path

import pytest

from tests.unprivileged import ROOT, SYSTEM_PYTHON, Person, unprivileged_user

pytestmark = pytest.mark.slow

BUNDLE = "tf-1.15.5"


def test_a_user_without_rights_has_stopgap_and_leaves_nothing() -> None:
    with unprivileged_user(BUNDLE) as person:
        left_file = Path("/var/tmp", f"left-by-{person.name}")  # noqa: S108 - where a user may leave files
        runs_as_nobody_in_particular(person)
        has_stopgap_and_the_bundle(person)
        left_running = subprocess.Popen(["sleep", "1000"], user=person.uid, group=person.gid, extra_groups=[])
        person.run("touch", left_file)
        assert left_running.pid in person.processes()
    assert left_running.wait(timeout=10) == -9
    assert person.processes() == []
    assert not person.home.exists()
    assert not left_file.exists()
    with pytest.raises(KeyError):
        pwd.getpwnam(person.name)


def runs_as_nobody_in_particular(person: Person) -> None:
    said = person.run("grep", "-E", "^(Uid|Gid|Groups|CapEff|CapBnd)", "/proc/self/status").stdout
    fields = {line.split(":")[0]: line.split()[1:] for line in said.splitlines()}
    assert set(fields["Uid"]) == {str(person.uid)}
    assert set(fields["Gid"]) == {str(person.gid)}
    assert (fields["Groups"], int(fields["CapEff"][0], 16)) == ([], 0)
    assert person.uid >= 1000
    assert person.run("ls", "/root", check=False).returncode != 0
    assert person.home.stat().st_mode & 0o777 == 0o700


def has_stopgap_and_the_bundle(person: Person) -> None:
    base = person.run(person.python, "-c", "import sys; print(sys._base_executable)").stdout.strip()
    assert Path(base).resolve() == SYSTEM_PYTHON.resolve()
    where = person.run(person.python, "-c", "import stopgap; print(stopgap.__path__[0])").stdout
    assert where.startswith(str(person.home / "venv"))
    assert person.run(person.stopgap, "bundle", "verify", BUNDLE, environment={"PIP_FIND_LINKS": ""}).stdout
    for path in ("Makefile", "orchestrator/stopgap/roots.py"):
        assert (person.tree / path).read_bytes() == (ROOT / path).read_bytes()
    assert all(path.lstat().st_uid == person.uid for path in person.home.rglob("*"))
