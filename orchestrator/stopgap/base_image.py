"""What the images stand on: the official slim Python where a registry gives it, else one made of Debian's packages."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from stopgap.errors import ImageError
from stopgap.image_store import ImageStore
from stopgap.progress import Progress
from stopgap.sources import images_folder

__all__ = ["CHOICES", "DEBIAN", "OFFICIAL", "BaseImage", "debian_sources", "ensure"]

_DEBIAN_SUITE = "bookworm"
_MMDEBSTRAP_TIMEOUT_S = 600


@dataclass(frozen=True)
class BaseImage:
    """One of the two ways to a base.

    Attributes:
        name: For the label `stopgap.base`.
        recipe: Everything that decides what is in it.
    """

    name: str
    recipe: tuple[str, ...]

    @property
    def tag(self) -> str:
        """Changes with the recipe and with the Dockerfile that goes on top."""
        digest = hashlib.sha256("\0".join(self.recipe).encode() + _dockerfile().encode())
        return f"stopgap/base:{digest.hexdigest()[:12]}"


OFFICIAL = BaseImage(
    "official",
    ("python:3.11.10-slim-bookworm@sha256:5148c0e4bbb64271bca1d3322360ebf4bfb7564507ae32dd639322e4952a6b16",),
)

# Of this variant dpkg's own list says nothing, so it is made of the packages' files while they are there.
_LIST_OF_PACKAGES = (
    'mkdir -p "$1/usr/share/stopgap" && cd "$1/var/cache/apt/archives" && '
    'sha256sum *.deb > "$1/usr/share/stopgap/debs.sha256"'
)

# 53 MB without a shell. python3-minimal alone has neither ctypes nor asyncio; the link makes `python3.11` the same
# path as in the official image.
DEBIAN = BaseImage(
    "debian",
    (
        "--variant=extract",
        "--include=python3.11-minimal,libpython3.11-stdlib,libstdc++6,libgcc-s1,base-files,base-passwd,netbase",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--extract-hook={_LIST_OF_PACKAGES}",
        '--extract-hook=mkdir -p "$1/usr/local/bin" && ln -s /usr/bin/python3.11 "$1/usr/local/bin/python3.11"',
        _DEBIAN_SUITE,
    ),
)

# The first that is there already is taken, so that a registry that answers tomorrow does not mean a rebuild.
CHOICES = (OFFICIAL, DEBIAN)


def ensure(images: ImageStore, scratch: Path, say: Callable[[str], None], progress: Progress) -> BaseImage:
    """The base that is there, made first where none is; `scratch` is an existing folder for what comes in between.

    Raises:
        ImageError: There is no registry and mmdebstrap is missing or failed.
    """
    for choice in CHOICES:
        if images.has_image(choice.tag):
            return choice
    chosen, root = _root(images, scratch, say, progress)
    context = scratch / "base"
    context.mkdir()
    (context / "Dockerfile").write_text(_dockerfile().replace("ARG ROOT\n", f"ARG ROOT={root}\n"), encoding="utf-8")
    progress("building the base image", None)
    images.build_image(context, chosen.tag, {"stopgap.image": "base", "stopgap.base": chosen.name})
    return chosen


def _root(images: ImageStore, scratch: Path, say: Callable[[str], None], progress: Progress) -> tuple[BaseImage, str]:
    """The chosen base, and the engine's name of the image that its Dockerfile starts from."""
    (reference,) = OFFICIAL.recipe
    progress("asking a registry for the base image", None)
    if images.pull_image(reference):
        say(f"Base image: {reference.partition('@')[0]} from the registry, by digest.")
        return OFFICIAL, reference
    say("Base image: no registry gave the official Python, so it is made from Debian's packages with mmdebstrap.")
    tag = DEBIAN.tag.replace(":", ":debian-")
    if not images.has_image(tag):
        progress("making the base image with mmdebstrap", None)
        tar = scratch / "debian.tar"
        _mmdebstrap(tar)
        images.import_image(tar, tag)
        tar.unlink()
    return DEBIAN, tag


def _mmdebstrap(tar: Path) -> None:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ImageError(
            "No registry gave a base image, and mmdebstrap, which makes one, is not installed.",
            "Type: sudo apt-get install mmdebstrap debian-archive-keyring",
        )
    command = [program, "--quiet", *DEBIAN.recipe, str(tar), *debian_sources()]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_MMDEBSTRAP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"mmdebstrap was not done after {_MMDEBSTRAP_TIMEOUT_S} s.", "Is the mirror slow?") from error
    if done.returncode != 0:
        tail = done.stderr.decode("utf-8", errors="replace").strip().splitlines()[-5:]
        raise ImageError(
            "mmdebstrap could not make the base image: " + " / ".join(tail),
            "Look at the network and at /etc/apt; `sudo apt-get update` has to work.",
        )


def debian_sources(etc: Path = Path("/etc")) -> list[str]:
    """The machine's own Debian mirror, where it is of the suite that the base is made of; else mmdebstrap's default."""
    try:
        release = (etc / "os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    if f"VERSION_CODENAME={_DEBIAN_SUITE}" not in release:
        return []
    candidates = [etc / "apt/sources.list.d/debian.sources", etc / "apt/sources.list"]
    return [str(path) for path in candidates if path.is_file() and path.stat().st_size][:1]


def _dockerfile() -> str:
    return (images_folder() / "base" / "Dockerfile").read_text(encoding="utf-8")
