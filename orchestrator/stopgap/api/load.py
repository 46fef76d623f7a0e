"""`stopgap.load`: the line that replaces `tf.saved_model.load`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from stopgap.api.arguments import check_is, paths, target_text, words
from stopgap.api.model import LoadedModel
from stopgap.api.opening import Source, opened
from stopgap.overlay import GivenSignatures, checked_signatures, read_overlay

__all__ = ["load"]


def load(
    target: str | os.PathLike[str],
    *,
    name: str | None = None,
    tags: str | Iterable[str] = "serve",
    signatures: str | os.PathLike[str] | GivenSignatures | None = None,
    op_libraries: Sequence[str | os.PathLike[str]] = (),
    bundle: str = Source.bundle,
    engine: str = Source.engine,
    workers: int = Source.workers,
    memory_mib: int = Source.memory_mib,
    timeout_s: float | None = Source.timeout_s,
    show_progress: bool | None = None,
) -> LoadedModel:
    """A TensorFlow 1.x model, to be called as if TensorFlow 2 had loaded it.

    From a folder, the model is served in a sandbox of its own, shared with every process of this user that loads the
    same content, unless its state changes; it reads the folder that was loaded first, which is to stay while it is
    used. It ends with its last user: when the model is closed or nobody holds it, though TensorFlow's graphs hold what
    they have called until the process ends; that of a killed process at the next `load`. It listens to this machine
    alone, but to all of its users, and answers for tensors of its graph too (`prune`). What runs already stays when it
    is closed.

    Its sunset is the model's, 90 days from when it was first served here unless it is moved: in the last two weeks
    a program is warned once (`SunsetWarning`), and after them what runs goes on, but no sandbox is started.

    Args:
        target: A SavedModel's folder, or one of numbered versions; the name of a running deployment; or
            `HOST:PORT/MODEL`. Where a word could be a name or a folder, it is the name: write `./word` for the folder.
        name: The model's name, at an address that does not say it. What follows, but for the last two, says how a
            folder is to be served; what is served already has been told.
        tags: Which of the folder's graphs.
        signatures: Signatures for a folder's model that has none, or other ones: a TOML file, or a mapping of the same
            form; see `stopgap.overlay`.
        op_libraries: Libraries of custom operations that the folder's model needs.
        bundle: Which TensorFlow serves the folder.
        engine: What contains the folder's model: `auto`, `docker` or `bubblewrap`.
        workers: How many processes serve the folder's model.
        memory_mib: The sandbox's limit, in MiB.
        timeout_s: The deadline of each request, in seconds, unless it is asked with another; None waits for ever.
        show_progress: Whether to show what takes long; by default where stderr is a terminal.

    Raises:
        StopgapError: Of the kind of what went wrong, with what to do about it.
    """
    check_is("name", name, (str, type(None)), "a model's name")
    check_is("workers", workers, int, "a whole number")
    check_is("memory_mib", memory_mib, int, "a whole number of MiB")
    check_is("timeout_s", timeout_s, (int, float, type(None)), "a number of seconds, or None")
    check_is("bundle", bundle, str, "a bundle's name")
    check_is("engine", engine, str, "an engine's name")
    source = Source(
        target=target_text(target),
        name=name,
        tags=words("tags", tags),
        signatures=given(signatures),
        op_libraries=paths("op_libraries", op_libraries),
        bundle=bundle,
        engine=engine,
        workers=workers,
        memory_mib=memory_mib,
        timeout_s=timeout_s,
    )
    return LoadedModel(opened(source, show_progress))


def given(signatures: str | os.PathLike[str] | GivenSignatures | None) -> GivenSignatures:
    if signatures is None:
        return {}
    if isinstance(signatures, (str, os.PathLike)):
        return read_overlay(Path(signatures))
    check_is("signatures", signatures, Mapping, "a TOML file or a mapping of the same form")
    return checked_signatures(signatures, "signatures=")
