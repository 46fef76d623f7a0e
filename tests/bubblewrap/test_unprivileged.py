"""All of the tests beside this one again, as a user without rights."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.bubblewrap.unprivileged import User, readable_python, temporary_user

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users; the others are run as one anyway"),
]


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    python = readable_python()
    assert python is not None, "no Python of this version that everybody may execute: apt-get install python3.11"
    with temporary_user(python) as made:
        yield made


@pytest.mark.parametrize(
    ("module", "at_least"), [("test_monitor.py", 50), ("test_engine.py", 30), ("test_weakened.py", 18)]
)
def test_a_user_without_rights_gets_the_same(user: User, module: str, at_least: int) -> None:
    done = user.run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={user.home}/temporary"),
        # Docker's own library leaves its socket open where it may not use the engine's, until after the last test.
        *("-W", "ignore::pytest.PytestUnraisableExceptionWarning"),
        f"tests/bubblewrap/{module}",
        REQUIRE_ENGINES="bubblewrap",
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= at_least
