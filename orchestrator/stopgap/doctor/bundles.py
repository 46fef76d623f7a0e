"""The bundles in the cache: whether every file still has the SHA-256 that it was fetched with."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from stopgap import bundles
from stopgap.bundle_rows import BundleRow, rows
from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, absent, ok
from stopgap.doctor.machine import Machine

__all__ = ["HASHING_LIMIT_S", "checks"]

HASHING_LIMIT_S = 60.0


def checks(_machine: Machine) -> Iterator[Check]:
    for row in rows():
        yield Check("bundles", row.name, partial(unchanged, row), HASHING_LIMIT_S)


def unchanged(row: BundleRow, machine: Machine) -> Finding:
    if not (machine.cache / "bundles" / row.name).is_dir():
        return absent("not fetched; the first serve that needs it does")
    bundles.verify(row.name, cache=machine.cache)
    return ok("every file has its SHA-256")
