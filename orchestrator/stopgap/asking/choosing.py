"""From what somebody names, a folder, a deployment, an address or a recording, to a side that answers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from stopgap import bundle_rows
from stopgap.api.opening import Source, opened
from stopgap.api.targets import Folder, Remote, Running, target_of
from stopgap.asking.data.opening import EXAMPLES, JSON, LOGS, NPZ, format_of
from stopgap.asking.live import LOOK_TIMEOUT_S, LiveSide
from stopgap.asking.recorded import RecordedLogs, RecordedOutputs
from stopgap.asking.sides import Identity, Side
from stopgap.client.channel import ServingChannel
from stopgap.client.requests import status_request
from stopgap.client.status import UNIMPLEMENTED
from stopgap.digests import sha256_of
from stopgap.engines.choice import AUTO
from stopgap.errors import DataError, ModelError, PredictionError
from stopgap.front.arm_log import OBSERVER_HEADER
from stopgap.model_contents import contents_of, model_digest, read_files
from stopgap.models import find_model
from stopgap.printable import printable
from stopgap.progress import Progress, silent
from stopgap.served_as import deployed_as, served_as
from stopgap.store import Deployment, Store

__all__ = ["CANDIDATE", "LEGACY", "identities", "is_recording", "open_side"]

LEGACY, CANDIDATE = "legacy", "modern"
# What a runtime says first of a model whose graph its TensorFlow does not know.
UNKNOWN_OPERATION = "Op type not registered in TensorFlow"


def open_side(
    source: Source, store: Store, kind: str, show_progress: bool | None = None, progress: Progress = silent
) -> Side:
    """The side that is meant.

    Args:
        source: What is named, as for `load`; or a file of recorded outputs. Where its bundle is empty, a folder is
            served by the first of its kind, and a candidate that this cannot load by the legacy one.
        store: Where the deployments are.
        kind: `LEGACY` or `CANDIDATE`.
        show_progress: As for `load`.
        progress: Told while a model's files are read.

    Raises:
        StopgapError: Of the kind of what is wrong.
    """
    if is_recording(source):
        return recording(Path(source.target))
    target = target_of(source.target, source.name, store)
    if isinstance(target, Folder):
        return folder_side(source, target.path, kind, show_progress, progress)
    # The engine is for those that are folders.
    told = dataclasses.replace(source, bundle=source.bundle or Source.bundle, engine=AUTO)
    if isinstance(target, Running):
        # By its version: asked for by its name alone, its successor might answer.
        version = store.deployment(target.name).version
        return live(told, lambda: running_identity(store.deployment(target.name)), show_progress, version)
    return live(told, lambda: remote_identity(target), show_progress)


def is_recording(source: Source) -> bool:
    """A file is never a model: those are folders."""
    return Path(source.target).is_file()


def identities(source: Source, store: Store, kind: str, progress: Progress = silent) -> tuple[Identity, ...]:
    """What a model is that nobody opens: of a folder, by each TensorFlow that may be the one to serve it.

    Args:
        source: As for `open_side`, as all others are.

    Raises:
        StopgapError: It is not there.
    """
    target = target_of(source.target, source.name, store)
    if isinstance(target, Running):
        return (running_identity(store.deployment(target.name)),)
    if isinstance(target, Remote):
        return (remote_identity(target),)
    folder = find_model(target.path).folder
    digest = model_digest(contents_of(folder, read_files(folder), progress))
    bundles = bundles_for(source.bundle, kind)
    return tuple(
        folder_identity(dataclasses.replace(source, bundle=bundle), target.path, digest, "") for bundle in bundles
    )


def recording(file: Path) -> Side:
    found = format_of(file)
    if found == NPZ:
        return RecordedOutputs(file)
    if found == LOGS:
        return RecordedLogs(file)
    what = {JSON: "JSON", EXAMPLES: "a TFRecord of tf.Examples"}[found]
    raise DataError(
        f"{file} is {what}, and no model and no recorded outputs.",
        "Name a model's folder, a deployment, HOST:PORT/MODEL, or outputs in an .npz or a TFRecord of PredictionLogs.",
    )


def folder_side(source: Source, path: Path, kind: str, show_progress: bool | None, progress: Progress) -> Side:
    """Served for as long as it is asked."""
    folder = find_model(path).folder
    digest = model_digest(contents_of(folder, read_files(folder), progress))
    last: ModelError | None = None
    for bundle in bundles_for(source.bundle, kind):
        chosen = dataclasses.replace(source, bundle=bundle)
        identity = folder_identity(chosen, path, digest, "" if last is None else f", since {last.problem}")
        try:
            return live(chosen, lambda told=identity: told, show_progress)  # type: ignore[misc]  # mypy infers no lambda with a default
        except ModelError as error:
            if last is not None or UNKNOWN_OPERATION not in error.problem:
                raise
            last = error
    raise last or AssertionError("there is a bundle of every kind")


def bundles_for(named: str, kind: str) -> tuple[str, ...]:
    """Which to try: the one that is named, or those of the kind; what lacks an operation in TensorFlow 2 is legacy."""
    if named:
        return (named,)
    legacy = bundle_rows.default_row("legacy").name
    return (legacy,) if kind == LEGACY else (bundle_rows.default_row("modern").name, legacy)


def live(
    source: Source, identity: Callable[[], Identity], show_progress: bool | None, version: int | None = None
) -> Side:
    connection = opened(source, show_progress)
    try:
        channel = ServingChannel(connection.address, headers=((OBSERVER_HEADER, "compare"),))
        return LiveSide(channel, connection.remote.name, identity, connection.close, version=version)
    except BaseException:
        connection.close()
        raise


def folder_identity(source: Source, path: Path, digest: str, why: str) -> Identity:
    libraries = [sha256_of(Path(library)) for library in source.op_libraries]
    state = state_of(digest, source.bundle, libraries, source.signatures, source.tags)
    served = served_as(digest, source.bundle, source.op_libraries, source.signatures, source.tags)
    told = f"the model in {printable(str(path))}, served with {source.bundle}{printable(why)}"
    return Identity(told, digest, state, served)


def running_identity(found: Deployment) -> Identity:
    """By the digest with which it was served: what was put into its folder since is not what runs."""
    libraries = [str(library) for library in found.op_libraries]
    state = state_of(
        found.sunset.digest, found.bundle, libraries, found.signatures, found.tags, found.created.isoformat()
    )
    told = f"the deployment {found.name}, which serves {printable(str(found.model))} with {found.bundle}"
    return Identity(told, found.sunset.digest, state, deployed_as(found))


def remote_identity(target: Remote) -> Identity:
    """Unpinned: of an address only the version's number is known, which somebody may give again.

    Raises:
        PredictionError: It does not answer.
    """
    versions = versions_at(target)
    numbered = "version " + " and ".join(map(str, versions)) if versions else "no version"
    told = f"{target.name} at {target.address}, {numbered}, unpinned: whoever serves it may replace it unseen"
    return Identity(told, None, state_of("unpinned", target.address, target.name, versions))


def versions_at(target: Remote) -> list[int]:
    """None where it is served by somebody who does not know the question."""
    with ServingChannel(target.address) as channel:
        try:
            answer = channel.status(status_request(target.name), LOOK_TIMEOUT_S)
        except PredictionError as error:
            if error.code != UNIMPLEMENTED:
                raise
            return []
    return sorted(version.version for version in answer.model_version_status)


def state_of(*parts: object) -> str:
    """All that is known to decide the answers, as one digest."""
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()
