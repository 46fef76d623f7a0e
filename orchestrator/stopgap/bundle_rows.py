"""The table of bundles, `bundles.toml`, as values; reads no other file and fetches nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import resources
from typing import Any

from stopgap.errors import BundleError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["BundleRow", "Wheel", "check_machine", "default_row", "row", "rows"]


@dataclass(frozen=True)
class Wheel:
    """An official wheel, pinned.

    Attributes:
        requirement: What pip is asked for, `name==version`.
        sha256: Without this digest nothing is unpacked.
        size: Bytes to download, for the progress bar.
        python, abi, platform: The wheel's tags, in the form that pip's options take.
    """

    requirement: str
    sha256: str
    size: int
    python: str
    abi: str
    platform: str


@dataclass(frozen=True)
class BundleRow:
    """One row of `bundles.toml`; the file's head says what each field is."""

    name: str
    kind: str
    tensorflow: str
    released: date
    needs: tuple[str, ...]
    wheel: Wheel
    root: str
    core: tuple[str, ...]
    dependencies: tuple[str, ...]
    op_libraries: tuple[str, ...]


@lru_cache(maxsize=1)
def rows() -> tuple[BundleRow, ...]:
    """All bundles that can be fetched, in the table's order."""
    text = resources.files("stopgap").joinpath("bundles.toml").read_text(encoding="utf-8")
    return tuple(_row(fields) for fields in tomllib.loads(text)["bundle"])


def row(name: str) -> BundleRow:
    """The row of that name.

    Raises:
        BundleError: There is none.
    """
    for candidate in rows():
        if candidate.name == name:
            return candidate
    known = ", ".join(candidate.name for candidate in rows())
    raise BundleError(f"There is no bundle named {name!r}.", f"The bundles are: {known}.")


def default_row(kind: str) -> BundleRow:
    """What a kind of image ("legacy", "modern") holds unless told otherwise.

    Raises:
        BundleError: No row is of that kind.
    """
    for candidate in rows():
        if candidate.kind == kind:
            return candidate
    raise BundleError(f"No bundle is meant for {kind!r} images.")


def check_machine(wanted: BundleRow, machine: str, cpu_flags: frozenset[str] | None) -> None:
    """Says so before anything is loaded where a library's instructions are missing.

    Args:
        wanted: The bundle.
        machine: The architecture, as `uname -m` or a container engine reports it.
        cpu_flags: The processor's flags as in /proc/cpuinfo, or None where they cannot be known.

    Raises:
        BundleError: The machine cannot run this bundle.
    """
    architecture, *flags = wanted.needs
    if _canonical(machine) != architecture:
        raise BundleError(
            f"The bundle {wanted.name} runs on {architecture} only; this machine is {machine}.",
            f"Use an {architecture} machine, or point Docker at one with `docker context use NAME`.",
        )
    missing = [] if cpu_flags is None else [flag for flag in flags if flag not in cpu_flags]
    if missing:
        raise BundleError(
            f"The bundle {wanted.name} needs a processor with {', '.join(missing).upper()}; this one has none.",
            "On a virtual machine, choose a processor model that passes it through (for QEMU: `-cpu host`).",
        )


def _canonical(machine: str) -> str:
    """The name that the table uses, for the two names that one architecture goes by."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine.lower())


def _row(fields: dict[str, Any]) -> BundleRow:
    wheel = fields["wheel"]
    return BundleRow(
        name=fields["name"],
        kind=fields["kind"],
        tensorflow=fields["tensorflow"],
        released=fields["released"],
        needs=tuple(fields["needs"]),
        wheel=Wheel(
            requirement=wheel["requirement"],
            sha256=wheel["sha256"],
            size=wheel["bytes"],
            python=wheel["python"],
            abi=wheel["abi"],
            platform=wheel["platform"],
        ),
        root=fields["root"],
        core=tuple(fields["core"]),
        dependencies=tuple(fields["dependencies"]),
        op_libraries=tuple(fields["op_libraries"]),
    )
