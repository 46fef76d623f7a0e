"""`make test`: first what may run side by side, then what promises a time and needs the machine to itself."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

SIDE_BY_SIDE: Final = ("--numprocesses", "2", "--dist", "loadgroup", "-m", "not alone")
ALONE: Final = ("-m", "alone")


def main(arguments: list[str]) -> int:
    """The first exit code that is none of success, where there is one; a run that selects no test is no success."""
    codes = [
        subprocess.run([sys.executable, "-m", "pytest", *phase, *arguments], check=False).returncode
        for phase in (SIDE_BY_SIDE, ALONE)
    ]
    nothing, fine = pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.OK
    if codes == [nothing, nothing]:
        return nothing
    return next((code for code in codes if code not in (fine, nothing)), fine)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
