"""Who types: as the kernel has it, and where that is root by sudo, who that was before."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Person", "current_person"]


@dataclass(frozen=True)
class Person:
    """A user of this machine.

    Attributes:
        uid: The real user's.
        name: `anna`, or `anna by sudo`; the uid in digits, where it has no name.
    """

    uid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})"


def current_person(environment: Mapping[str, str] = os.environ) -> Person:
    uid = os.getuid()
    before = environment.get("SUDO_USER", "")
    if uid == 0 and before:
        return Person(uid, f"{before} by sudo")
    try:
        return Person(uid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        return Person(uid, str(uid))
