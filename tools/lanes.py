"""Tests in about the time of their longest lane: side by side what does not get in each other's way, then the rest.

Most tests wait: for a container, a deadline, a death. One lane has the engine that all share, Docker's. Those marked
`alone` promise a time to the tenth of a second, or live on what others leave of the processors: they are tried when
the lanes have ended, one after the other. Those marked `thorough` are left out unless THOROUGH=all is set.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Final, NoReturn

__all__ = ["AFTERWARDS", "SIDE_BY_SIDE", "main", "quick"]

SIDE_BY_SIDE: Final = {
    "docker": "(docker or gvisor) and not alone",
    "bubblewrap": "bubblewrap and not (docker or gvisor or alone)",
    "others": "not (docker or gvisor or bubblewrap or alone)",
}
AFTERWARDS: Final = {"alone": "alone"}
# A lane takes half an hour with all that is thorough. One that hangs is interrupted, so that pytest says where; or
# aborted, so that Python does.
LONGEST_S: Final = 3600.0
CLEANS_UP_S: Final = 120.0
# What a test has left behind may hold the pipe that is read here: that keeps nobody waiting.
PRINTS_S: Final = 5.0
# What a run says last, and of its failures; and that it has come so far.
SUMMARY: Final = re.compile(r"=+ .* in [\d.]+s")
LAST_WORDS: Final = re.compile(rf"(FAILED|ERROR|SKIPPED|engines:|pythons:|{SUMMARY.pattern})")
# So much is repeated of one that has not: where it hung is in it.
MOST_LINES: Final = 200


def main() -> int:
    """Runs all lanes, and repeats their last words at the end; 1 when one of them fails."""
    signal.signal(signal.SIGTERM, terminate)
    thorough = os.environ.get("THOROUGH") == "all"
    chosen = (SIDE_BY_SIDE, AFTERWARDS) if thorough else (quick(SIDE_BY_SIDE), quick(AFTERWARDS))
    lanes = [lane for selections in chosen for lane in ended(selections)]
    for lane in lanes:
        for line in lane.last_words:
            lane.write(line)
    if not thorough:
        sys.stdout.write("lanes: what is marked `thorough` was left out; make test-all tries it too\n")
    failed = [lane.name for lane in lanes if lane.exit_code != 0]
    sys.stdout.write(f"lanes: {', '.join(failed)} FAILED\n" if failed else "lanes: all passed\n")
    return 1 if failed else 0


def quick(lanes: Mapping[str, str]) -> Mapping[str, str]:
    """The same without what takes long."""
    return {name: f"{selection} and not thorough" for name, selection in lanes.items()}


def ended(lanes: Mapping[str, str]) -> list[Lane]:
    """These, run side by side."""
    began = time.monotonic()
    ends = ("-o", "faulthandler_exit_on_timeout=true")  # else one that does not hear of its time being over takes all
    tests = (sys.executable, "-u", "-X", "faulthandler", "-m", "pytest", *ends, "-m")
    running = [Lane(name, [*tests, selection]) for name, selection in lanes.items()]
    try:
        for lane in running:
            lane.wait(began + LONGEST_S - time.monotonic())
    finally:
        for lane in running:
            lane.end()
    sys.stdout.write(f"lanes: {', '.join(lanes)} took {time.monotonic() - began:.0f} s\n")
    return running


def terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """As an exception, so that no lane is left behind; told once more, it goes on cleaning up."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


class Lane:
    """One run of pytest, from its start on; its lines come as they are written, its name before each.

    Attributes:
        exit_code: None as long as it runs.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._last_words: list[str] = []
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C is ours to hand on: told twice, pytest would not clean up
        )
        self._printing = threading.Thread(target=self._print, daemon=True)
        self._printing.start()

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def last_words(self) -> list[str]:
        """What a person wants to read when all have ended; of one that did not come to it, all that it said last."""
        return self._last_words if any(map(SUMMARY.match, self._last_words)) else [*self._lines]

    def _print(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        with self._process.stdout as lines:  # closed also when there is nobody left to print for: then pytest ends
            for line in lines:
                self.write(line)
                self._lines.append(line)
                if LAST_WORDS.match(line):
                    self._last_words.append(line)

    def write(self, line: str) -> None:
        """One of its lines, or one more time."""
        sys.stdout.write(f"{self.name:>10} | {line}")
        sys.stdout.flush()

    def wait(self, timeout_s: float) -> None:
        """For its end, or until that long has passed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(timeout_s, 0))
            self._printing.join(PRINTS_S)

    def end(self) -> None:
        """Of one that still runs: lets pytest clean up."""
        if self.exit_code is None:
            self.write("has not ended, and is interrupted\n")
            self._process.send_signal(signal.SIGINT)
            self.wait(CLEANS_UP_S)
            self._process.send_signal(signal.SIGABRT)
            self.wait(PRINTS_S)
            self._process.kill()
            self.wait(PRINTS_S)


if __name__ == "__main__":
    sys.exit(main())
