"""Where the sources of the images lie, in a checkout as in an installed package; they are read, never imported."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

__all__ = ["images_folder", "protos_folder"]


def images_folder() -> Path:
    """The folder with one subfolder per image, and the runtime that goes into two of them."""
    return Path(str(resources.files("stopgap_images")))


def protos_folder() -> Path:
    """The folder of the wire contract's generated code, the package `stopgap_protos`."""
    return Path(str(resources.files("stopgap_protos")))
