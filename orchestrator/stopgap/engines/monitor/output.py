"""What a container prints, all of it hostile: in two files, of which the older is dropped when the newer is full."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["CappedLog", "follow", "tail"]

NEWER = "log"
OLDER = "log.1"
LARGEST_FILE = 5_000_000
LONGEST_LINE = 64 << 10  # who never ends a line does not fill our memory
LOOK_EVERY_S = 0.1
CHUNK = 1 << 16


class CappedLog:
    """The writing end. Where the disk is full, what does not fit is lost; nothing waits for it and nothing fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._line_ended = True
        self._open()

    def write(self, piece: bytes) -> None:
        """Appends `piece`, which is small beside the largest file."""
        with contextlib.suppress(OSError):
            if self._size + len(piece) > LARGEST_FILE:
                self._begin_anew()
            self._size += os.write(self._descriptor, piece)
            self._line_ended = piece.endswith(b"\n")

    def note(self, text: str) -> None:
        """A line of the monitor's own."""
        start = "" if self._line_ended else "\n"
        self.write(f"{start}[monitor] {text}\n".encode("utf-8", "replace"))

    def _begin_anew(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # the last attempt came as far as this
            (self._folder / NEWER).replace(self._folder / OLDER)
        former = self._descriptor
        self._open()
        os.close(former)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._folder / NEWER, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size


def tail(folder: Path, lines: int) -> tuple[str, ...]:
    """The last `lines` lines, oldest first; the last of them may not have ended yet."""
    kept = (content(folder / OLDER) + content(folder / NEWER)).split(b"\n")
    ended = kept if kept[-1] else kept[:-1]
    return tuple(map(text, ended[-lines:])) if lines > 0 else ()


def follow(folder: Path, lines: int, goes_on: Callable[[], bool]) -> Iterator[str]:
    """The last `lines` lines and then each new one, until the container does not go on, or is removed."""
    with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
        older = content(folder / OLDER)
        stream = stack.enter_context((folder / NEWER).open("rb"))
        *ended, rest = (older + stream.read()).split(b"\n")
        yield from map(text, ended[-lines:] if lines > 0 else ())
        while True:
            last_look = not goes_on()  # asked before reading, so that nothing printed until then is missed
            begun_anew = not os.path.samestat((folder / NEWER).stat(), os.fstat(stream.fileno()))
            while piece := stream.read(CHUNK):
                *ended, rest = (rest + piece).split(b"\n")
                if len(rest) > LONGEST_LINE:
                    ended, rest = [*ended, rest], b""
                yield from map(text, ended)
            if begun_anew:
                stream = stack.enter_context((folder / NEWER).open("rb"))
            elif last_look:
                break
            else:
                time.sleep(LOOK_EVERY_S)
        if rest:
            yield text(rest)


def content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
