"""What something consists of, as SHA-256 of its files: written down once, measured again, compared."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

__all__ = ["Fingerprint", "changes", "digests_in_tar", "link_digest", "read", "written"]

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Fingerprint:
    """What a container is made of.

    Attributes:
        image: What its engine calls that: an image's name, or a root's folder.
        identity: Changes when anything in it does: an image's id, or the digest of a root's list.
        files: The digest of each file by its path as seen inside.
    """

    image: str
    identity: str
    files: Mapping[str, str] = field(repr=False)


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """What has changed, in a few words a file."""
    yield from (f"{path} is missing" for path in before if path not in now)
    yield from (f"{path} was added" for path in now if path not in before)
    yield from (f"{path} differs" for path, digest in before.items() if now.get(path, digest) != digest)


def digests_in_tar(stream: IO[bytes], on_bytes: Callable[[int], None]) -> dict[str, str]:
    """Of each file in a tar archive that is read but once; `on_bytes` hears how many bytes each piece had.

    Empty files are left out: engines make them where something is to be mounted, and there is nothing in them. A hard
    link counts as what it leads to, a symbolic link as where it points.
    """
    digests = {}
    with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK_BYTES) as archive:
        for member in archive:
            path = f"/{member.name}"
            if member.issym():
                digests[path] = link_digest(member.linkname)
            elif member.islnk() and f"/{member.linkname}" in digests:
                digests[path] = digests[f"/{member.linkname}"]
            elif member.isreg() and member.size:
                content = archive.extractfile(member)
                if content is not None:
                    digests[path] = digest_of(content, on_bytes)
    return digests


def digest_of(content: IO[bytes], on_bytes: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(CHUNK_BYTES):
        digest.update(chunk)
        on_bytes(len(chunk))
    return digest.hexdigest()


def link_digest(target: str) -> str:
    """Of a symbolic link."""
    return hashlib.sha256(b"link to " + target.encode("utf-8", "surrogateescape")).hexdigest()


def written(fingerprint: Fingerprint) -> dict[str, Any]:
    """As JSON can hold it."""
    return {"image": fingerprint.image, "identity": fingerprint.identity, "files": dict(fingerprint.files)}


def read(fields: Mapping[str, Any]) -> Fingerprint:
    """The reverse of `written`; raises what a damaged file makes it raise."""
    return Fingerprint(fields["image"], fields["identity"], dict(fields["files"]))
