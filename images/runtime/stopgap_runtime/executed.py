"""A worker that is a program of its own, and not a fork: its addresses are laid out anew.

A forked worker shares its parent's layout, so that whoever may try again and again could find out by its deaths where
things are. It takes some tenths of a second longer.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from typing import Final, NoReturn

from . import kernel
from .capi import TensorFlow
from .duty import Duty
from .keepsake import Keepsake
from .quarantine import Quarantine
from .scoreboard import Scoreboard
from .settings import parse_serve, without_descriptors
from .worker import Inheritance, work

__all__ = ["COMMAND", "execute", "work_executed"]

COMMAND: Final = "worker"


def execute(inheritance: Inheritance) -> NoReturn:
    """Becomes the same program's `worker` command, with the arguments of `serve` behind those of its own."""
    for descriptor in inheritance.descriptors:
        os.set_inheritable(descriptor, True)
    program = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    own = [f"--called={inheritance.name}", f"--descriptors={','.join(map(str, inheritance.descriptors))}"]
    own += ["--warm-up"] if inheritance.warm_up else []
    own += [f"--duty={inheritance.duty.value}", f"--memory={inheritance.memory_bytes}"]
    arguments = [*program, COMMAND, *own, *without_descriptors(sys.argv[2:])]
    os.execv(sys.executable, arguments)  # noqa: S606 - that is what it is all about


def work_executed(parser: argparse.ArgumentParser, arguments: list[str]) -> NoReturn:
    """Serves until SIGTERM and ends the process."""
    parser.add_argument("--called", required=True)
    parser.add_argument("--descriptors", required=True)
    parser.add_argument("--warm-up", action="store_true")
    parser.add_argument("--duty", type=Duty, required=True)
    parser.add_argument("--memory", type=int, required=True)
    own, rest = parser.parse_known_args(arguments)
    kernel.make_undumpable()
    if own.duty is Duty.ASIDE:
        kernel.give_way()  # also while it loads TensorFlow
    settings = parse_serve(argparse.ArgumentParser(prog=parser.prog), rest)
    listener, control, scoreboard, quarantine, *keepsake = map(int, own.descriptors.split(","))
    work(
        Inheritance(
            own.called,
            own.duty,
            settings,
            TensorFlow.load(settings.bundle),
            socket.socket(fileno=listener),
            Scoreboard(settings.connections, scoreboard),
            Quarantine(quarantine),
            control=control,
            warm_up=own.warm_up,
            memory_bytes=own.memory,
            keepsake=Keepsake(keepsake[0]) if keepsake else None,
        )
    )
