"""What a worker prints, made safe to log: line by line, escaped, cut and rate-limited.

A model can print what it likes (`tf.print`), so a worker's output is hostile: it must not forge the parent's lines, nor
fill a disk, nor block the worker because nobody reads.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["WorkerLog", "printable"]

_LINE_LIMIT: Final = 2048
_READ_SIZE: Final = 64 << 10
_LINES_PER_S: Final = 100.0
_BURST_LINES: Final = 500.0
_LAST_LINES: Final = 20


class WorkerLog:
    """Reads one worker's stdout and stderr from a pipe.

    Args:
        say: Takes one safe line at a time.

    Attributes:
        last_lines: Those that were said last.
    """

    def __init__(self, descriptor: int, say: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._open = True
        self._say = say
        self._rest = b""
        self._allowance = _BURST_LINES
        self._refilled = time.monotonic()
        self._dropped = 0
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What to wait for: the pipe, until the worker has closed its end, after which it would always be readable."""
        return (self._descriptor,) if self._open else ()

    def read(self) -> bool:
        """Takes what is there without waiting for more; False at the end of the pipe."""
        try:
            data = os.read(self._descriptor, _READ_SIZE)
        except BlockingIOError:
            return True
        if not data:
            self._open = False
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE_LIMIT:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._admit(line)
        return True

    def close(self) -> None:
        """Reads to the end of what a dead worker left, and closes the pipe."""
        for _ in range(16):  # a pipe holds 64 KiB; a descriptor that somebody else keeps open must not hold us
            if not self.read():
                break
        if self._rest:
            self._admit(self._rest)
        if self._dropped:
            self._say(f"({self._dropped} lines dropped)")
        os.close(self._descriptor)

    def _admit(self, line: bytes) -> None:
        now = time.monotonic()
        self._allowance = min(_BURST_LINES, self._allowance + (now - self._refilled) * _LINES_PER_S)
        self._refilled = now
        if self._allowance < 1:
            self._dropped += 1
            return
        self._allowance -= 1
        if self._dropped:
            self._say(f"({self._dropped} lines dropped)")
            self._dropped = 0
        safe = printable(line)
        self.last_lines.append(safe)
        self._say(safe)


def printable(text: bytes) -> str:
    """Hostile bytes as one line of at most 2,048 characters; of a control character are made several that are none."""
    decoded = text[:_LINE_LIMIT].decode("utf-8", "backslashreplace")
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)
    return escaped[:_LINE_LIMIT]
