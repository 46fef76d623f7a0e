"""All tests in about the time of their longest lane: side by side what does not get in each other's way, then the rest.

Most tests wait: for a container, a deadline, a death. One lane has the engine that all share, Docker's. Those marked
`alone` promise a time to the tenth of a second, or live on what others leave of the processors: they are tried when
the lanes have ended, one after the other.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Final

SIDE_BY_SIDE: Final = {
    "docker": "(docker or gvisor) and not alone",
    "bubblewrap": "bubblewrap and not docker and not alone",
    "others": "not (docker or gvisor or bubblewrap or alone)",
}
AFTERWARDS: Final = {"alone": "alone"}


def main() -> int:
    """Runs all lanes; 1 when one of them fails. Their lines come as they are written, the lane's name before each."""
    failed = [*failing(SIDE_BY_SIDE), *failing(AFTERWARDS)]
    sys.stdout.write(f"lanes: {', '.join(failed)} FAILED\n" if failed else "lanes: all passed\n")
    return 1 if failed else 0


def failing(lanes: Mapping[str, str]) -> Iterator[str]:
    """Runs these side by side, and names those with a failure."""
    began = time.monotonic()
    running = {name: Lane(name, selection) for name, selection in lanes.items()}
    for name, lane in running.items():
        if lane.exit_code() != 0:
            yield name
    sys.stdout.write(f"lanes: {', '.join(lanes)} took {time.monotonic() - began:.0f} s\n")


class Lane:
    """One run of pytest, from its start on."""

    def __init__(self, name: str, selection: str) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "pytest", "-m", selection],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._printing = threading.Thread(target=self._print)
        self._printing.start()

    def _print(self) -> None:
        for line in self._process.stdout or ():
            sys.stdout.write(f"{self._name:>10} | {line}")
            sys.stdout.flush()

    def exit_code(self) -> int:
        """Waits for its end."""
        self._printing.join()
        return self._process.wait()


if __name__ == "__main__":
    sys.exit(main())
