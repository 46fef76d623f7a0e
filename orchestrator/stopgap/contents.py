"""What containers are made of, package by package: from the files that are in them, and the lists that lie there."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from stopgap.bundle_rows import BundleRow
from stopgap.errors import ImageError
from stopgap.fingerprints import Fingerprint
from stopgap.installed_packages import Installed

__all__ = ["LISTS", "Contents", "Package", "contents"]

OURS = "/opt/stopgap"
BUNDLE = f"{OURS}/bundle"
RUNTIME = tuple(f"{OURS}/app/{part}" for part in ("__main__.py", "__pycache__/", "stopgap_runtime/", "stopgap_protos/"))

# Of a runtime, and of a front.
WHEELS = (f"{OURS}/app/wheels.sha256", f"{OURS}/wheels.sha256")
DEBS = "/usr/share/stopgap/debs.sha256"
STATUS = "/usr/share/stopgap/dpkg-status"
RELEASES = ("/etc/os-release", "/usr/lib/os-release")
PYTHON = f"{OURS}/python"
LISTS = (*WHEELS, DEBS, STATUS, PYTHON, *RELEASES)

WHEEL = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")
DEB = re.compile(r"(?P<name>[^_]+)_(?P<version>[^_]+)_(?P<architecture>[^_]+)\.deb")
IN_A_FRONT = {"libc6"}  # whose files alone its image takes from the base


@dataclass(frozen=True)
class Package:
    """One package.

    Attributes:
        kind: `pypi`, `deb` or, of a Python that no package brought, `generic`, as a package URL has it.
        architecture: Of a Debian package.
        sha256: Of the file that it came in; empty where that is not recorded, as in an image from a registry and on a
            host that bubblewrap shows.
        files: Those of it that are known one by one, with their digests.
    """

    kind: str
    name: str
    version: str
    architecture: str = ""
    sha256: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """All of them.

    Attributes:
        runtime: The files of our own, with their digests.
        release: What os-release says of the system, `ID` and `VERSION_ID`; empty where there is none.
    """

    packages: tuple[Package, ...]
    runtime: Mapping[str, str]
    release: Mapping[str, str]


def contents(
    made: Fingerprint,
    lists: Mapping[str, bytes],
    row: BundleRow | None,
    owners: Callable[[Iterable[str]], dict[str, Installed]] | None,
) -> Contents:
    """
    Args:
        made: What it is made of.
        lists: Those of `LISTS` that lie in it.
        row: The bundle that is in it; None for a front.
        owners: Whose files the host's are, where it is the host's that are used.

    Raises:
        ImageError: It has no record of its wheels.
    """
    wheels = next((lists[path] for path in WHEELS if path in lists), None)
    if wheels is None:
        raise ImageError(
            f"{made.image} has no list of the wheels that are in it: an older stopgap has made it.",
            "Stop what runs of it, then serve again.",
        )
    host = {path: digest for path, digest in made.files.items() if not path.startswith(f"{OURS}/")} if owners else {}
    owned = owners(host) if owners else {}
    found = [
        *of_bundle(row, made),
        *listed(wheels, WHEEL, "pypi"),
        *(of_host(host, owned, lists) if owners else of_image(lists, None if row else IN_A_FRONT)),
    ]
    return Contents(
        packages=tuple(sorted(found, key=lambda each: (each.kind, each.name, each.architecture))),
        runtime=below(made, *RUNTIME),
        release=release(next((lists[path] for path in RELEASES if path in lists), b"")),
    )


def of_bundle(row: BundleRow | None, made: Fingerprint) -> Iterator[Package]:
    if row is not None:
        name, _, version = row.wheel.requirement.partition("==")
        yield Package("pypi", name, version, sha256=row.wheel.sha256, files=below(made, f"{BUNDLE}/lib/"))


def below(made: Fingerprint, *prefixes: str) -> dict[str, str]:
    return {path: digest for path, digest in made.files.items() if path.startswith(prefixes)}


def of_image(lists: Mapping[str, bytes], only: set[str] | None) -> Iterator[Package]:
    """By Debian's own files, or where a registry gave the base, by what dpkg says."""
    debs = listed(lists[DEBS], DEB, "deb") if DEBS in lists else installed(lists.get(STATUS, b""))
    return (package for package in debs if only is None or package.name in only)


def of_host(files: Mapping[str, str], owned: Mapping[str, Installed], lists: Mapping[str, bytes]) -> Iterator[Package]:
    loose = {path: digest for path, digest in files.items() if path not in owned}
    if loose:  # of a Python that was built here, say; on a host without dpkg, of all that is used
        version = lists.get(PYTHON, b"").decode("ascii").strip()
        yield Package("generic", "python" if version else "files", version, files=loose)
    for package in sorted(set(owned.values()), key=lambda each: each.name):
        its = {path: files[path] for path, owner in owned.items() if owner == package}
        yield Package("deb", package.name, package.version, package.architecture, files=its)


def listed(record: bytes, name: re.Pattern[str], kind: str) -> Iterator[Package]:
    """What sha256sum has written down of files that are called after what is in them."""
    for line in record.decode("utf-8").splitlines():
        digest, _, file = line.partition("  ")
        parts = name.fullmatch(urllib.parse.unquote(file))  # a Debian epoch's colon is escaped
        if parts is None:
            raise ImageError(f"{file} is recorded, but is called like no package.")
        told = parts.groupdict()
        plain = told["name"].replace("_", "-").lower() if kind == "pypi" else told["name"]
        yield Package(kind, plain, told["version"], told.get("architecture", ""), digest)


def installed(status: bytes) -> Iterator[Package]:
    """What dpkg says is installed."""
    for paragraph in status.decode("utf-8", "replace").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version|Architecture): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            yield Package("deb", fields["Package"], fields["Version"], fields["Architecture"])


def release(text: bytes) -> dict[str, str]:
    return dict(
        re.findall(r'^(ID|VERSION_ID|PRETTY_NAME)="?([^"\n]*)"?$', text.decode("utf-8", "replace"), re.MULTILINE)
    )
