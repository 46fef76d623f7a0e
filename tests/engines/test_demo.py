"""`make demo`, from a fresh copy of the sources to a prediction: what a newcomer types first."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.backstage import on_bubblewrap
from tests.unprivileged import ROOT, unprivileged_user

pytestmark = pytest.mark.slow

TIMEOUT_S = 900  # everything is installed, TensorFlow 2 among it
LAST_WORDS = "The legacy model answers as it did in TensorFlow 1.15."


def demonstrated(target: str, engine: str, state: Path) -> str:
    """What that target of `make` says, which has to succeed; all demonstrations serve under the same name."""
    done = subprocess.run(
        ["make", target],
        cwd=ROOT,
        env={**os.environ, "ENGINE": engine, "STOPGAP_STATE": str(state)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_works_on_this_engine(engine: str, tmp_path: Path) -> None:
    said = demonstrated("demo", engine, tmp_path)
    assert "Op type not registered 'Resampler'" in said
    assert f'"engine": "{engine}"' in said
    assert LAST_WORDS in said


@pytest.mark.alone
@on_bubblewrap
def test_the_hand_over_is_demonstrated_and_fails_no_user(engine: str, tmp_path: Path) -> None:
    said = demonstrated("demo-ab", engine, tmp_path)
    assert "is retired: its name is answered by its successor" in said
    assert "; 0 failed; all of it took" in said
    evidence = json.loads((ROOT / "build" / "demo-ab" / "result.json").read_text())
    assert (evidence["outcome"], evidence["scope"], evidence["dropped"]) == ("PASS", "stream", {})
    assert (ROOT / "build" / "demo-ab" / "report.html").stat().st_size > 10_000


@pytest.mark.thorough
@pytest.mark.bubblewrap
def test_a_user_without_rights_needs_nothing_else() -> None:
    """From a fresh copy: an environment of the user's own, the bundle, the roots, and the demo without Docker."""
    with unprivileged_user() as person:
        own = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        done = person.run(
            "make",
            "-C",
            person.tree,
            "demo",
            timeout_s=TIMEOUT_S,
            environment={"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", **own, "ENGINE": "bubblewrap"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert '"engine": "bubblewrap"' in done.stdout
        assert LAST_WORDS in done.stdout
