"""What a process does first that the parent has forked: it keeps of the parent's what it needs, and ends with it."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from . import kernel

__all__ = ["cut_off", "end", "forked"]

_STANDARD_ERROR: Final = 2


def forked(live: Callable[[], None]) -> int:
    """Makes a process that does `live` and ends, with exit code 1 where that failed; gives its number.

    Whatever happens in it, it never gets back into the frames of its parent, who would clean up behind itself twice.

    Raises:
        OSError: No process can be made: no task or no memory is left.
    """
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    exit_code = 1
    try:
        live()
        exit_code = 0
    except BaseException:  # noqa: BLE001 - its end, whatever it is of
        traceback.print_exc()
    finally:
        end(exit_code)


def end(exit_code: int) -> NoReturn:
    """Ends this process, whether or not anybody is there to read what it has printed."""
    try:
        sys.stderr.flush()
    finally:
        os._exit(exit_code)


def cut_off(prints_to: int, *kept: int) -> None:
    """Reads nothing, prints to a descriptor, has those that are named and no others, and is killed with its parent.

    Those that there are are closed, and not those up to a limit: one from outside may be numbered beyond it.
    """
    signal.set_wakeup_fd(-1)
    kernel.die_with_parent(signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(prints_to, 1)
    os.dup2(prints_to, 2)
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor > _STANDARD_ERROR and descriptor not in kept:
            with suppress(OSError):  # the descriptor that the list itself was read from
                os.close(descriptor)
