"""The numbers of the descriptors that a monitor hands to the container it starts: agreed on here, imported by both."""

from __future__ import annotations

__all__ = ["FILTER", "FIRST_LISTENER", "GATE", "INFO", "OPTIONS", "READY"]

INFO = 3  # bwrap tells the pid of the container's first process here, and closes it
READY = 4  # the runtime announces here that its workers have loaded
GATE = 5  # one line out, "the walls stand", one line in, "go on"; closed before the program runs
OPTIONS = 100  # bwrap reads its own options here, and closes it: its command line can be read inside
FILTER = 101  # bwrap reads the filter of system calls here, and closes it
FIRST_LISTENER = 6  # the listening sockets, one after the other
