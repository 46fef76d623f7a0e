"""Whether a deployment still is what was served: everything hashed anew, against what was written down then."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stopgap.containment.specs import front_container, sandbox_container
from stopgap.digests import sha256_of
from stopgap.engines.choice import Engines
from stopgap.engines.protocol import Engine
from stopgap.errors import DeploymentError, ModelError, StopgapError
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
        what: "model", "op libraries", "bundle", "sandbox" or "front"; "deployment" where it is not known what that has.
        where: Its folder, image or container.
        files: How many were hashed.
        changes: What is not as it was, in a few words each; empty where all of it is.
        trouble: Why it could not be looked at; None where it could.
    """

    what: str
    where: str
    files: int
    changes: tuple[str, ...]
    trouble: StopgapError | None = None


def verify(name: str, engines: Engines, store: Store, progress: Progress) -> tuple[Checked, ...]:
    """All that there is to look at of a deployment; what cannot be looked at says why, and keeps nothing else back."""
    try:
        deployment = store.deployment(name)
        record = Records(store.folder).get(name)
    except DeploymentError as error:
        return (Checked("deployment", name, 0, (), error),)

    def checked_part(what: str, container: str, known: Fingerprint) -> Checked:
        engine = engines.named(deployment.engine)
        return checked_container(what, container, known, engine, progress)

    sandbox, front = sandbox_container(name), front_container(deployment.front.grpc_port)
    return (
        tried("model", record.model.folder, lambda: checked_model(record, progress)),
        tried("op libraries", ", ".join(record.op_libraries), lambda: checked_libraries(record)),
        tried("bundle", record.bundle.folder, lambda: checked_bundle(record, progress)),
        tried("sandbox", sandbox, lambda: checked_part("sandbox", sandbox, record.sandbox)),
        tried("front", front, lambda: checked_part("front", front, record.front)),
    )


def tried(what: str, where: str, check: Callable[[], Checked]) -> Checked:
    try:
        return check()
    except StopgapError as error:
        return Checked(what, where, 0, (), error)


def checked_model(record: Record, progress: Progress) -> Checked:
    """
    Raises:
        ModelError: Something of it is there and cannot be read.
    """
    folder = record.model.folder
    try:
        now = dict(everything_in(Path(folder), progress))
    except ModelError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return Checked("model", folder, 0, (error.problem,))
        raise
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
