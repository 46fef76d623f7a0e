"""What this machine's processor can do, as Linux tells it."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["cpu_flags", "machine"]


def machine() -> str:
    """The architecture, e.g. `x86_64`."""
    return platform.machine()


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """The first processor's flags, e.g. `avx`; None where there is no such file or no such line in it."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return frozenset(value.split())
    return None
