"""Makes an input that breaks something as short as it goes, as long as it breaks the same place."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Optional

__all__ = ["fault_of", "minimised"]

Fault = tuple[type[BaseException], str, Optional[int]]


def minimised(check: Callable[[bytes], None], data: bytes, budget_s: float = 20.0) -> bytes:
    """A shorter input with the same fault: pieces are left out, of half its size first and of one byte at last."""
    fault, deadline = fault_of(check, data), time.monotonic() + budget_s
    size = max(1, len(data) // 2)
    while time.monotonic() < deadline:
        start, shorter = 0, False
        while start < len(data) and time.monotonic() < deadline:
            candidate = data[:start] + data[start + size :]
            if fault_of(check, candidate) == fault:
                data, shorter = candidate, True
            else:
                start += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2)
    return data


def fault_of(check: Callable[[bytes], None], data: bytes) -> Fault | None:
    """What a check raises, and where; None where it holds."""
    try:
        check(data)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        return type(error), place.filename, place.lineno
    return None
