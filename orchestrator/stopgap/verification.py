"""Whether a deployment still is what was served: everything hashed anew, against what was written down then."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stopgap.containment.specs import front_container, sandbox_container
from stopgap.digests import sha256_of
from stopgap.engines.choice import Engines
from stopgap.engines.protocol import Engine
from stopgap.errors import DeploymentError, ModelError
from stopgap.fingerprints import Fingerprint, changes
from stopgap.model_contents import everything_in
from stopgap.progress import Progress
from stopgap.records import Record, Records
from stopgap.store import Store

__all__ = ["Checked", "verify"]


@dataclass(frozen=True)
class Checked:
    """One thing that was looked at.

    Attributes:
        what: "model", "op libraries", "bundle", "sandbox" or "front".
        where: Its folder, image or container.
        files: How many were hashed.
        changes: What is not as it was, in a few words each; empty where all of it is.
    """

    what: str
    where: str
    files: int
    changes: tuple[str, ...]


def verify(name: str, engines: Engines, store: Store, progress: Progress) -> tuple[Checked, ...]:
    """
    Raises:
        DeploymentError: There is no such deployment, nothing was written down of it, or a file cannot be read.
        EngineError: Its engine does not answer.
    """
    deployment = store.deployment(name)
    record = Records(store.folder).get(name)
    engine = engines.named(deployment.engine)
    front = front_container(deployment.front.grpc_port)
    return (
        checked_model(record, progress),
        checked_libraries(record),
        checked_bundle(record, progress),
        checked_container("sandbox", sandbox_container(name), record.sandbox, engine, progress),
        checked_container("front", front, record.front, engine, progress),
    )


def checked_model(record: Record, progress: Progress) -> Checked:
    folder = record.model.folder
    try:
        now = dict(everything_in(Path(folder), progress))
    except ModelError as error:
        return Checked("model", folder, 0, (error.problem,))
    return Checked("model", folder, len(now), tuple(changes(record.model.files, now)))


def checked_libraries(record: Record) -> Checked:
    now = of_files(record.op_libraries, Path)
    return Checked("op libraries", ", ".join(record.op_libraries), len(now), tuple(changes(record.op_libraries, now)))


def checked_bundle(record: Record, progress: Progress) -> Checked:
    folder = Path(record.bundle.folder)
    progress("reading the bundle", None)
    now = of_files(record.bundle.files, folder.joinpath)
    return Checked("bundle", str(folder), len(now), tuple(changes(record.bundle.files, now)))


def of_files(names: Iterable[str], place: Callable[[str], Path]) -> dict[str, str]:
    """The digests of those that are there.

    Raises:
        DeploymentError: One is there and cannot be read.
    """
    try:
        return {name: sha256_of(place(name)) for name in names if place(name).is_file()}
    except OSError as error:
        raise DeploymentError(f"{error.filename} cannot be read: {error.strerror}.", "Mend its permissions.") from error


def checked_container(what: str, container: str, known: Fingerprint, engine: Engine, progress: Progress) -> Checked:
    """What it runs, and what would be started under the same name today."""
    now = engine.measure(container, known, progress)
    if now is None:
        return Checked(what, container, 0, ("there is no such container",))
    told = [*changes(known.files, now.files)]
    if now.identity != known.identity:
        told.insert(0, f"it runs {now.image}, {now.identity}, and not {known.image}, {known.identity}")
    elif (named := engine.identity(known.image)) != known.identity:
        told.insert(
            0, f"{known.image} is now {named or 'gone'}, and was {known.identity}; what runs is what was served"
        )
    return Checked(what, f"{container}, {now.image}", len(now.files), tuple(told))
