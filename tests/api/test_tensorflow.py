"""All of tests/tensorflow, in a process of its own: TensorFlow 2's symbols must not meet TensorFlow 1.15's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backstage import on_bubblewrap
from tests.tensorflow.conftest import OWN_PROCESS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
AT_LEAST = 27


@on_bubblewrap
def test_tensorflow_2_calls_a_loaded_model_as_one_of_its_own(state: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/tensorflow"],
        cwd=ROOT,
        env={**os.environ, OWN_PROCESS: "1", "STOPGAP_STATE": str(state)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= AT_LEAST
    assert "skipped" not in done.stdout
