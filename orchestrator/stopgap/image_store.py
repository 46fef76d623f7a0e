"""What building images needs of an engine; knows no engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

__all__ = ["ImageStore"]


class ImageStore(Protocol):
    """What building images needs of an engine. Every method raises EngineError where the engine fails it."""

    def has_image(self, tag: str) -> bool: ...

    def build_image(self, context: Path, tag: str, labels: Mapping[str, str]) -> None:
        """Builds the folder's Dockerfile without a network and without asking a registry.

        Raises:
            ImageError: A step failed; carries the build log's tail.
        """

    def import_image(self, tar: Path, tag: str) -> None:
        """Makes an image of one layer from a tar file of a root file system."""

    def drop_images(self, labels: Mapping[str, str], keep: str, older_than_s: float) -> None:
        """Removes the images of that age with these labels, but for the tag `keep` and those that a container needs."""

    def pull_image(self, reference: str) -> bool:
        """False, soon, where no registry gives it."""
