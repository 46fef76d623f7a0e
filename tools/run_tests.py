"""`make test`: what may run side by side does; then what promises a time has the machine to itself.

Two tests that make containers of one engine may not: it knows them by names. So each lane is a process of its own, and
what needs Docker is in one lane alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import pytest

LANES: Final[Mapping[str, str]] = {
    "Docker": "docker",
    "other walls": "not docker and (gvisor or podman or bubblewrap)",
    "no engine": "not docker and not gvisor and not podman and not bubblewrap",
}
LOGS: Final = Path("build") / "tests"
LOOK_EVERY_S: Final = 1.0
SAY_EVERY_S: Final = 60.0
FINE: Final = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def main(arguments: list[str]) -> int:
    """The first exit code of a failure, where there is one; a run that selects no test at all is one too."""
    codes = [*side_by_side(arguments), run("alone", "alone", arguments, sys.stdout).wait()]
    if all(code == pytest.ExitCode.NO_TESTS_COLLECTED for code in codes):
        return pytest.ExitCode.NO_TESTS_COLLECTED
    return next((code for code in codes if code not in FINE), 0)


def side_by_side(arguments: list[str]) -> list[int]:
    """Runs all lanes at once; shows what each had to say, those that failed last."""
    LOGS.mkdir(parents=True, exist_ok=True)
    logs = {lane: LOGS / f"{lane.replace(' ', '-').lower()}.log" for lane in LANES}
    lanes = {}
    for lane, selection in LANES.items():
        with logs[lane].open("w") as log:
            lanes[lane] = run(lane, f"not alone and ({selection})", arguments, log)
    wait_for(lanes, logs)
    for lane in sorted(lanes, key=lambda lane: lanes[lane].returncode not in FINE):
        say(f"=== {lane} " + "=" * 100)
        sys.stdout.write(logs[lane].read_text())
    return [process.returncode for process in lanes.values()]


def run(lane: str, selection: str, arguments: list[str], output: IO[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "-m", selection, "-o", f"cache_dir=build/tests/{lane}", *arguments]
    output.flush()
    return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def wait_for(lanes: Mapping[str, subprocess.Popen[bytes]], logs: Mapping[str, Path]) -> None:
    """Says now and then how far each is."""
    said_at = time.monotonic()
    while any(process.poll() is None for process in lanes.values()):
        time.sleep(LOOK_EVERY_S)
        if time.monotonic() >= said_at + SAY_EVERY_S:
            said_at = time.monotonic()
            say(", ".join(f"{lane}: {how_far(logs[lane])}" for lane in lanes))


def how_far(log: Path) -> str:
    """The last share of its tests that a lane has told of."""
    shares = re.findall(r"\[ *(\d+)%\]$", log.read_text(), re.MULTILINE)
    return f"{shares[-1]} %" if shares else "begins"


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - who waits reads it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
