"""Every wheel comes by hash, and from wherever the user's own pip settings say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stopgap.bundle_rows import rows

ROOT = Path(__file__).parents[2]
LOCKS = sorted([*ROOT.glob("requirements/*.txt"), *ROOT.glob("images/*/requirements.txt")])
ENTRY = re.compile(r"^\S+==\S+( ; [^\\\n]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+(    # .*\n)*", re.MULTILINE)
SETUP = re.compile(r"pip install [^\n]*(?:\\\n[^\n]*)*")


def test_all_locks_are_looked_at() -> None:
    names = {str(lock.relative_to(ROOT)) for lock in LOCKS}
    assert {"requirements/dev.txt", "images/runtime/requirements.txt", "images/front/requirements.txt"} <= names
    assert len(names) >= 10


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_no_line_of_a_lock_is_without_a_hash_or_names_a_place(lock: Path) -> None:
    text = lock.read_text()
    left = [line for line in ENTRY.sub("", text).splitlines() if line.strip() and not line.startswith("#")]
    assert left == []
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host|^-[ief] | @ ", text, re.MULTILINE)


def test_every_bundles_wheel_is_pinned_by_version_and_hash() -> None:
    for row in rows():
        assert re.fullmatch(r"[a-z-]+==[0-9.]+", row.wheel.requirement)
        assert re.fullmatch(r"[0-9a-f]{64}", row.wheel.sha256)


def test_the_makefile_installs_by_hash_alone() -> None:
    installs = SETUP.findall((ROOT / "Makefile").read_text().replace("--quiet --disable-pip-version-check ", ""))
    assert len(installs) >= 3
    ours = [line for line in installs if "--no-deps --no-build-isolation -e ." in line]
    assert [line for line in installs if "--require-hashes" not in line and line not in ours] == []
