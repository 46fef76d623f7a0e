"""Container images, built when the engine does not have them: a tag is the digest of all that goes in."""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

from filelock import FileLock
from platformdirs import user_cache_path

from stopgap import base_image, image_context
from stopgap.base_image import BaseImage
from stopgap.bundles import Bundle
from stopgap.errors import ImageError
from stopgap.image_store import ImageStore
from stopgap.progress import Progress, silent

__all__ = ["ImageStore", "ensure", "tag"]

# What an older stopgap has built, nothing asks for again; but two versions in turn on one machine ask for both.
DROPPED_AFTER_S = 24 * 3600.0


def ensure(
    kind: str,
    images: ImageStore,
    bundle: Bundle | None,
    say: Callable[[str], None],
    progress: Progress = silent,
    *,
    cache: Path | None = None,
) -> str:
    """The tag of the image of that kind ("legacy", "modern", "front"), built first where the engine lacks it.

    What deserves a line of its own, such as which base was chosen, goes to `say`. The front takes no bundle.

    Raises:
        ImageError: It could not be built: no base, no packages, a full disk, a failing step; nothing is left behind.
    """
    found = _found(kind, images, bundle)
    if found:
        return found
    with _workshop(cache, progress) as scratch:
        found = _found(kind, images, bundle)  # by whoever held the lock before
        return found or _build(kind, images, bundle, scratch, say=say, progress=progress)


def tag(kind: str, base: BaseImage, bundle: Bundle | None) -> str:
    """`stopgap/<kind>:<12 hex digits of everything that goes in>`."""
    digest = hashlib.sha256(f"{kind}\0{base.tag}\0{bundle.digest if bundle else ''}\0".encode())
    for name, path in image_context.inputs(kind).items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return f"stopgap/{kind}:{digest.hexdigest()[:12]}"


def _found(kind: str, images: ImageStore, bundle: Bundle | None) -> str | None:
    tags = [tag(kind, base, bundle) for base in base_image.CHOICES]
    return next((candidate for candidate in tags if images.has_image(candidate)), None)


def _build(
    kind: str,
    images: ImageStore,
    bundle: Bundle | None,
    scratch: Path,
    *,
    say: Callable[[str], None],
    progress: Progress,
) -> str:
    base = base_image.ensure(images, scratch, say, progress)
    wanted = tag(kind, base, bundle)
    say(f"Building the image {wanted}; this is done once.")
    context = scratch / "context"
    context.mkdir()
    progress(f"gathering what goes into the {kind} image", None)
    image_context.lay_out(kind, base.tag, bundle, context, scratch)
    progress(f"building the {kind} image", None)
    labels = {"stopgap.image": kind, "stopgap.base": base.name}
    if bundle:
        labels["stopgap.bundle"] = bundle.name
    images.build_image(context, wanted, labels)
    images.drop_images(labels, keep=wanted, older_than_s=DROPPED_AFTER_S)
    return wanted


@contextmanager
def _workshop(cache: Path | None, progress: Progress) -> Iterator[Path]:
    """A scratch folder beside the bundles, so that libraries can be linked instead of copied; one builder at a time."""
    folder = cache or user_cache_path("stopgap")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        progress("waiting for the image workshop", None)
        with FileLock(folder / ".images.lock"):
            scratch = Path(tempfile.mkdtemp(prefix=".images-", dir=folder))
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ImageError(f"The disk is full: an image cannot be prepared in {folder}.", "Make room.") from error
        raise ImageError(f"An image cannot be prepared in {folder}: {error}.", "Look at its permissions.") from error
