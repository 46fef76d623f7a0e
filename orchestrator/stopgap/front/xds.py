"""Puts a front's configuration where Envoy watches it: whole files, by rename; knows nothing of what is in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from stopgap.errors import FrontError
from stopgap.front.config import BOOTSTRAP, CLUSTERS, GRPC_ROUTES, LISTENERS, READINESS, REST_ROUTES, versions

__all__ = ["is_published", "publish"]

# A route may only name a cluster that is known, and a listener is of use only with its routes. Readiness comes first:
# it must forget a model before the model's cluster is gone, or a model that leaves would look like one that is down.
_ORDER = (BOOTSTRAP, READINESS, CLUSTERS, GRPC_ROUTES, REST_ROUTES, LISTENERS)


def publish(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    """Write what `configuration` made into the folder that Envoy watches; a file that says the same is not touched.

    Returns:
        The versions to wait for: file name → `version_info`.

    Raises:
        FrontError: The folder cannot be written.
    """
    try:
        for name in sorted(files, key=_ORDER.index):
            _replace(folder / name, files[name])
    except OSError as error:
        raise FrontError(
            f"The front's configuration in {folder} could not be written: {error.strerror}.",
            "Check the folder's permissions and the free space of its disk.",
        ) from error
    return versions(files)


def is_published(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether that is what the folder holds."""
    return all(_says(folder / name, text) for name, text in files.items())


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def _replace(path: Path, text: str) -> None:
    if _says(path, text):
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  (a descriptor, not a path)
            file.write(text)
            file.flush()
            # Envoy runs as a user of its own; nothing in here is secret.
            os.fchmod(file.fileno(), 0o644)
            # After a power cut these files are what the front comes back with.
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
