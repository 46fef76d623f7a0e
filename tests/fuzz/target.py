"""What can be fuzzed: a check that takes bytes, and seeds that it accepts."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["MemoryHeld", "Target", "held_memory"]


class MemoryHeld(AssertionError):
    """An input took more memory than its size allows."""


@dataclass(frozen=True)
class Target:
    """One seam.

    Args:
        check: Raises where the property does not hold: an exception that is not the seam's own, a difference from the
            reference, memory beyond the allowance. Returns for whatever is accepted or properly refused.
        seeds: Valid inputs, which mutations begin from.
        tokens: Words of the input's language, for mutations to put in.
        bytes_for_each: How much of Python's memory a byte of input may take at most.
        fixed_bytes: What a check may take besides: caches, interned names, a first import.
        is_protobuf: Whether inputs are serialised messages, so that mutations can be of whole fields.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    tokens: Sequence[bytes] = ()
    bytes_for_each: int = 256
    fixed_bytes: int = 8 << 20
    is_protobuf: bool = False


@contextmanager
def held_memory(target: Target, data: bytes) -> Iterator[None]:
    """Holds a check to its allowance, of what Python and NumPy allocate; what protobuf does, it does not see."""
    began_here = not tracemalloc.is_tracing()
    if began_here:
        tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        if began_here:
            tracemalloc.stop()
    allowed = target.fixed_bytes + target.bytes_for_each * len(data)
    if peak - before > allowed:
        raise MemoryHeld(f"{target.name}: {len(data)} bytes took {peak - before}, allowed are {allowed}")
