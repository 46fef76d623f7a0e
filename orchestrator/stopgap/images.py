"""Container images, built when the engine does not have them: a tag is the digest of all that goes in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Callable

from platformdirs import user_cache_path

from stopgap import base_image, image_context
from stopgap.base_image import BaseImage
from stopgap.bundles import Bundle
from stopgap.image_store import ImageStore
from stopgap.progress import Progress, silent
from stopgap.workshop import DROPPED_AFTER_S, workshop

__all__ = ["ImageStore", "ensure", "listed", "tag"]

_LISTS_KEPT = 20


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
    with workshop("images", cache or user_cache_path("stopgap"), progress) as scratch:
        found = _found(kind, images, bundle)  # by whoever held the lock before
        return found or _build(kind, images, bundle, scratch, say=say, progress=progress)


def tag(kind: str, base: BaseImage, bundle: Bundle | None) -> str:
    """`stopgap/<kind>:<12 hex digits of everything that goes in>`."""
    digest = hashlib.sha256(f"{kind}\0{base.tag}\0{bundle.digest if bundle else ''}\0".encode())
    for name, path in image_context.inputs(kind).items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return f"stopgap/{kind}:{digest.hexdigest()[:12]}"


def listed(identity: str, measure: Callable[[], dict[str, str]], *, cache: Path | None = None) -> dict[str, str]:
    """The digests of an image's files, by path: as they were measured when they were first asked for.

    An image is known by its content, so that one list is enough for whoever runs it. A cache that cannot be written
    costs another measurement.

    Args:
        identity: `sha256:` and the image's id.
        measure: Reads all that is in it.
    """
    file = (cache or user_cache_path("stopgap")) / "images" / f"{identity.rpartition(':')[2]}.json"
    with contextlib.suppress(OSError, ValueError):
        kept: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return kept
    measured = measure()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        for old in sorted(file.parent.glob("*.json"), key=lambda each: each.stat().st_mtime)[: -_LISTS_KEPT + 1]:
            old.unlink()
        partial = file.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(measured), encoding="utf-8")
        partial.replace(file)
    return measured


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
