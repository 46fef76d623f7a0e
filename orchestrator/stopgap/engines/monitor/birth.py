"""What a monitor's child does between fork and exec, to become a container."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from stopgap.containment.descriptors import OPTIONS
from stopgap.engines.cgroups import Mechanism
from stopgap.engines.monitor.records import Container

__all__ = ["become"]

END_OF_OPTIONS = "--"
EMPTIED = ("/usr/bin/env", "-i")

NOT_STARTED = 127  # as a shell has it
STANDARD_INPUT, STANDARD_ERROR = 0, 2
ABOVE_ALL_HANDED = 128
OOM_SCORE = "500"  # when the machine runs out of memory, these go before what else lives on it
# By us, or by who started us: nohup, a shell's background. What is started would ignore them as well.
IGNORED_HERE = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ)


def become(container: Container, mechanism: Mechanism, handed: Mapping[int, int]) -> NoReturn:
    """Never returns: where it fails, its standard error says why, and the process ends.

    Args:
        handed: Which of our descriptors the container is to find under which number, beside the standard input.
    """
    try:
        hand_over({STANDARD_INPUT: os.open(os.devnull, os.O_RDONLY), **handed})
        signal.set_wakeup_fd(-1)
        for number in IGNORED_HERE:
            signal.signal(number, signal.SIG_DFL)
        with contextlib.suppress(PermissionError):  # it was higher already, and only root may lower it
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")
        mechanism.enter(container.limits)
        execute(mechanism.words(container.limits), container.command(mechanism.is_group))
    except OSError as error:
        os.write(STANDARD_ERROR, f"the monitor could not start it: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(NOT_STARTED)  # whatever happened: a second monitor must not come of it


def execute(words: Sequence[str], command: Sequence[str]) -> NoReturn:
    """Runs bwrap, behind those words, so that nothing of the host's shows in what everybody inside can read of it.

    Its options go in by a descriptor, since they name the host's folders; its environment is empty.
    """
    end = command.index(END_OF_OPTIONS)
    options = os.memfd_create("options")
    os.write(options, b"".join(os.fsencode(option) + b"\0" for option in command[1:end]))
    os.lseek(options, 0, os.SEEK_SET)
    os.dup2(options, OPTIONS)
    bwrap = [command[0], "--args", str(OPTIONS), *command[end:]]
    if words:
        os.execvp(words[0], [*words, *EMPTIED, *bwrap])  # noqa: S606 - that is what it is all about
    os.execve(bwrap[0], bwrap, {})  # noqa: S606 - likewise


def hand_over(handed: Mapping[int, int]) -> None:
    """Gives each its number; first all are put out of the way, since one's number may be another's place."""
    aside = {number: fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, ABOVE_ALL_HANDED) for number, ours in handed.items()}
    for number, ours in aside.items():
        os.dup2(ours, number)
