"""Lays out the folders from which images are built: everything is in them, so that a build needs no network."""

from __future__ import annotations

from pathlib import Path

from stopgap import ingredients
from stopgap.bundles import Bundle
from stopgap.errors import ImageError
from stopgap.sources import images_folder

__all__ = ["inputs", "lay_out"]

_IMAGE_PYTHON = ingredients.target("3.11")


def inputs(kind: str) -> dict[str, Path]:
    """The files of ours that decide what is in an image, by name, in a fixed order; bundle and base come on top."""
    return {**ingredients.inputs(kind), Path(__file__).name: Path(__file__)}


def lay_out(kind: str, base: str, bundle: Bundle | None, context: Path, scratch: Path) -> None:
    """Fills the existing folder `context`; `base` is the tag to build upon, `scratch` an existing folder for pip.

    Raises:
        ImageError: The packages could not be fetched, or the disk is full.
    """
    dockerfile = (images_folder() / kind / "Dockerfile").read_text(encoding="utf-8")
    (context / "Dockerfile").write_text(dockerfile.replace("ARG BASE\n", f"ARG BASE={base}\n"), encoding="utf-8")
    if kind == "front":
        ingredients.lay_out_envoy(context / "envoy", _IMAGE_PYTHON, scratch)
    elif bundle is None:
        raise ImageError(f"A {kind} image needs a bundle.")
    else:
        ingredients.lay_out_site(context / "site", _IMAGE_PYTHON, scratch)
        ingredients.lay_out_code(context / "code")
        ingredients.lay_out_bundle(bundle, context / "bundle")
    ingredients.open_to_all(context)
