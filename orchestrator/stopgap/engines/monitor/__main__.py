"""`python … stopgap.engines.monitor FOLDER MECHANISM LEASE BEGUN FILTER`: keeps one container until it is to end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stopgap.engines.monitor.keeper import Keeper
from stopgap.engines.monitor.lease import sign

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """
    Args:
        arguments: The container's folder, what holds its limits, and inherited descriptors: the lease, a pipe that is
            closed as soon as it is known whether the container's walls stand, and the filter of system calls, where it
            has one.
    """
    folder, limits_by = Path(arguments[0]), arguments[1]
    lease, begun, *filters = map(int, arguments[2:])
    for descriptor in (lease, begun, *filters):
        os.set_inheritable(descriptor, False)
    if os.fork():
        os._exit(0)  # whoever started us has no child to wait for, however long we stay
    os.setsid()
    os.umask(0o022)
    sign(lease)
    Keeper(folder, limits_by, Once(begun), *filters).run()


class Once:
    """Closes a descriptor when it is called for the first time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
