"""The state folder: which deployments there are, and the folders that fronts and sandboxes share. Starts nothing.

<state>/deployments/<name>.json     one deployment each, written by rename
<state>/sunsets/<digest>.json       one model's date each, likewise; it stays when the model is stopped
<state>/handovers/<name>.json       one legacy model's hand-over each, likewise; it stays when that is retired
<state>/handovers/traffic/<name>.json   what is still asked of a legacy model that has a successor
<state>/fronts/<port>/xds/          Envoy's configuration
<state>/fronts/<port>/sandboxes/    one folder of sockets for each sandbox
<state>/fronts/<port>/observers/    one socket for each observer, to which Envoy mirrors
<state>/fronts/<port>/admin/        Envoy's admin socket
<state>/shadows/<name>/             one shadow each: what is wanted, who observes, what was found
<state>/recorders/<name>/           one recording each: what is wanted, who records, what was counted
<state>/recordings/<name>/          what was recorded, unless somebody has named another folder; it stays
<state>/ledgers/books/<name>.sqlite3    what is known of each legacy model's latest split
<state>/ledgers/fronts/<port>/      one front's ledger each: who keeps it, and what it had to say
<state>/locks/                      who holds one may change that deployment, or that front
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from stopgap import quiet, stages
from stopgap import sunset as sunsets
from stopgap.errors import DeploymentError
from stopgap.front.settings import LEDGER_SOCKET
from stopgap.overlay import GivenSignatures
from stopgap.quiet import LegacyTraffic
from stopgap.settings import Address, Limits, Timeouts, check_name, state_folder
from stopgap.stages import HandOver, Stage
from stopgap.sunset import Sunset

__all__ = ["Damaged", "Deployment", "Store"]

FRONT_LOCK_TIMEOUT_S = 120
TRAFFIC_LOCK_TIMEOUT_S = 5
T = TypeVar("T")

# What JSON that is none of ours makes its reader raise.
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
SUNSET_LOCK_TIMEOUT_S = 180  # it is held while a model joins its front


@dataclass(frozen=True)
class Deployment:
    """A model that is being served, as it was confirmed to answer.

    Attributes:
        model: The folder of the version that is served.
        workers: How many the runtime started: one for a model that changes state, whatever was asked for.
        changes_state: Then a request that lost its worker is not asked again.
        limits_by: What holds the limits: `cgroup v2`, say.
        sunset: The model's own: when it is read, what was agreed upon since, under whatever name, is in it.
        signatures: Those that were given beside the model's own, or in their place.
        tensors_allowed: Whether a request may name the graph's own tensors.
        requests_kept: Whether the request that has ended a worker alone may be looked at.
        also_called: Names of models whose place it may take: it answers to them.
        shared: It was started for whoever loads the model, and ends with the last of them.
        stopping: Its route is gone; what is left of it is being taken away.
    """

    name: str
    model: Path
    version: int
    bundle: str
    tags: tuple[str, ...]
    op_libraries: tuple[Path, ...]
    sunset: Sunset
    workers: int
    changes_state: bool
    limits: Limits
    timeouts: Timeouts
    front: Address
    max_message_mib: int
    engine: str
    isolation: str
    limits_by: str
    created: datetime
    signatures: GivenSignatures = field(default_factory=dict)
    tensors_allowed: bool = False
    requests_kept: bool = False
    also_called: tuple[str, ...] = ()
    shared: bool = False
    stopping: bool = False

    @property
    def address(self) -> str:
        """What a gRPC client on this machine dials, e.g. `127.0.0.1:8500`."""
        return self.front.grpc

    @property
    def until(self) -> date:
        """The last day, of UTC."""
        return self.sunset.until

    def leaving(self) -> Deployment:
        return replace(self, stopping=True)


class Damaged(DeploymentError):
    """A state file that cannot be read as a deployment: its own name is all that is known of it."""

    def __init__(self, file: Path, error: Exception) -> None:
        self.name = file.stem
        super().__init__(
            f"The state file {file} is damaged ({type(error).__name__}: {error}).",
            f"Take it away, then what is left of it: rm {shlex.quote(str(file))}; stopgap stop {self.name}",
        )


class Store:
    """Reads and writes the state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def default(cls) -> Store:
        return cls(state_folder())

    def deployments(self) -> tuple[Deployment, ...]:
        """All that can be read, by name."""
        return tuple(found for found in self._all() if isinstance(found, Deployment))

    def damaged(self) -> tuple[Damaged, ...]:
        """Those that cannot, by name; they keep nobody from going on with the others."""
        return tuple(found for found in self._all() if isinstance(found, Damaged))

    def names(self) -> tuple[str, ...]:
        """Of both kinds."""
        return (*(each.name for each in self.deployments()), *(each.name for each in self.damaged()))

    def find(self, name: str) -> Deployment | None:
        return self._read(self._file(check_name(name)))

    def deployment(self, name: str) -> Deployment:
        """
        Raises:
            DeploymentError: There is none of that name; says which there are.
            Damaged: Its file cannot be read.
        """
        found = self.find(name)
        if found is None:
            known = ", ".join(deployment.name for deployment in self.deployments())
            raise DeploymentError(
                f"There is no deployment {name!r}.",
                f"There are: {known}." if known else f"Start it: stopgap serve MODEL --name {name}",
            )
        return found

    def of_model(self, digest: str) -> tuple[Deployment, ...]:
        """All deployments of the model that has this digest, whatever they are called."""
        return tuple(each for each in self.deployments() if each.sunset.digest == digest)

    def sunset(self, digest: str) -> Sunset | None:
        """What was agreed upon for the model with this digest; None where it was never served.

        Raises:
            DeploymentError: The record cannot be read.
        """
        return self._recorded(
            self._sunset_file(digest),
            sunsets.read,
            "a model's sunset",
            "Mend it, or take it away, and with it what was agreed upon",
        )

    def damaged_sunsets(self) -> tuple[DeploymentError, ...]:
        """Why those of the records that cannot be read cannot; a deployment goes by its own copy meanwhile."""
        files = sorted((self.folder / "sunsets").glob("*.json"))
        return tuple(trouble for file in files if (trouble := self._trouble_of_sunset(file.stem)))

    def _trouble_of_sunset(self, digest: str) -> DeploymentError | None:
        try:
            self.sunset(digest)
        except DeploymentError as error:
            return error
        return None

    def put_sunset(self, sunset: Sunset) -> None:
        self._write(self._sunset_file(sunset.digest), sunsets.written(sunset))

    def remove_sunset(self, digest: str) -> None:
        self._sunset_file(digest).unlink(missing_ok=True)

    def hand_over(self, name: str) -> HandOver | None:
        """Of the legacy model of that name; None where nobody has begun one.

        Raises:
            DeploymentError: The record cannot be read.
        """
        return self._recorded(
            self._hand_over_file(name),
            stages.read,
            "a hand-over",
            f"Mend it, or take it away; {name} then answers for itself",
        )

    def hand_overs(self) -> tuple[HandOver, ...]:
        """All that can be read, by name."""
        found = map(self._hand_over_or_damage, self._hand_over_names())
        return tuple(record for record in found if isinstance(record, HandOver))

    def hand_overs_damaged(self) -> tuple[tuple[str, DeploymentError], ...]:
        """The names of those that cannot, and what is wrong with them."""
        found = ((name, self._hand_over_or_damage(name)) for name in self._hand_over_names())
        return tuple((name, damage) for name, damage in found if isinstance(damage, DeploymentError))

    def hand_overs_behind(self, grpc_port: int) -> tuple[HandOver, ...]:
        """Of all whose front is at that port.

        Raises:
            DeploymentError: One cannot be read: who then answers to a name nobody knows, so no front is told anything.
        """
        for _, damage in self.hand_overs_damaged():
            raise damage
        return tuple(found for found in self.hand_overs() if found.grpc_port == grpc_port)

    def put_hand_over(self, record: HandOver) -> None:
        """Called with the front's lock held."""
        self._write(self._hand_over_file(record.name), stages.written(record))

    def remove_hand_over(self, name: str) -> None:
        """Likewise; also where there is none."""
        self._hand_over_file(name).unlink(missing_ok=True)
        self._traffic_file(name).unlink(missing_ok=True)

    def legacy_traffic(self, name: str) -> LegacyTraffic | None:
        """What was last noted of a legacy model that has been promoted away from; None also where it is damaged."""
        try:
            return quiet.read(json.loads(self._traffic_file(name).read_text(encoding="utf-8")))
        except (FileNotFoundError, *UNREADABLE):
            return None
        except OSError as error:
            raise self._unusable(error) from error

    def put_legacy_traffic(self, name: str, noted: LegacyTraffic) -> None:
        """Called with `locked_traffic`."""
        self._write(self._traffic_file(name), quiet.written(noted))

    def is_retired(self, name: str) -> bool:
        """Whether that name is answered by the successor of a model that is gone."""
        found = self.hand_over(name)
        return found is not None and found.stage is Stage.RETIRED

    def behind(self, grpc_port: int) -> tuple[Deployment, ...]:
        """Those that the front at that port has to route to, as far as they can be read."""
        return tuple(
            deployment
            for deployment in self.deployments()
            if deployment.front.grpc_port == grpc_port and not deployment.stopping
        )

    def put(self, deployment: Deployment) -> None:
        self._write(self._file(deployment.name), written(deployment))

    def remove(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def front_folder(self, grpc_port: int) -> Path:
        return self.folder / "fronts" / str(grpc_port)

    def make_front_folder(self, grpc_port: int) -> Path:
        """The front's folder with its parts, which Envoy's user can read, and write its admin socket into."""
        folder = self.front_folder(grpc_port)
        try:
            for part, mode in (("xds", 0o755), ("sandboxes", 0o755), ("observers", 0o755), ("admin", 0o777)):
                self._make_private(folder)
                (folder / part).mkdir(exist_ok=True)
                (folder / part).chmod(mode)
        except OSError as error:
            raise self._unusable(error) from error
        return folder

    def observer_socket(self, grpc_port: int, name: str, kind: str) -> Path:
        """Where that model's observer of a kind listens. Nobody but Envoy gets there: it is in no sandbox's folder."""
        return self.front_folder(grpc_port) / "observers" / f"{name}.{kind}.sock"

    def ledger_socket(self, grpc_port: int) -> Path:
        """Likewise, where that front's ledger listens."""
        return self.front_folder(grpc_port) / "observers" / LEDGER_SOCKET

    def sandbox_folder(self, grpc_port: int, name: str) -> Path:
        return self.front_folder(grpc_port) / "sandboxes" / name

    def make_sandbox_folder(self, grpc_port: int, name: str) -> Path:
        """A fresh, empty folder in which a sandbox binds its sockets.

        Its mode is 0777, because the sandbox's user must write into it and a person in the docker group cannot give
        it to that user. No other user of this machine gets there all the same: the state folder above is 0700, and a
        bind mount, which begins at the folder itself, is the only other way in.
        """
        folder = self.sandbox_folder(grpc_port, name)
        self.make_front_folder(grpc_port)
        self.remove_sandbox_folder(grpc_port, name)
        try:
            folder.mkdir()
            folder.chmod(0o777)
        except OSError as error:
            raise self._unusable(error) from error
        return folder

    def remove_sandbox_folder(self, grpc_port: int, name: str) -> None:
        remove_tree(self.sandbox_folder(grpc_port, name))

    def ports_of(self, name: str) -> tuple[int, ...]:
        """Of the fronts that have a folder for that sandbox, also where no deployment tells."""
        found = (self.folder / "fronts").glob(f"*/sandboxes/{check_name(name)}")
        return tuple(int(folder.parents[1].name) for folder in found)

    def sandbox_names(self) -> set[str]:
        """Of all that have a folder behind any front."""
        return {folder.name for folder in (self.folder / "fronts").glob("*/sandboxes/*")}

    def has_fronts(self) -> bool:
        """Whether there is any front's folder: it is made before the first container."""
        return any((self.folder / "fronts").glob("*"))

    def front_ports(self) -> set[int]:
        """Of all fronts that have a folder."""
        return {int(folder.name) for folder in (self.folder / "fronts").glob("[0-9]*")}

    def has_sandboxes(self, grpc_port: int) -> bool:
        """Whether any sandbox has its folder there: also one that is only being started."""
        folder = self.front_folder(grpc_port) / "sandboxes"
        return folder.is_dir() and any(folder.iterdir())

    def remove_front_folder(self, grpc_port: int) -> None:
        remove_tree(self.front_folder(grpc_port))

    @contextlib.contextmanager
    def locked_deployment(self, name: str, patience_s: float = 0) -> Iterator[None]:
        """
        Raises:
            DeploymentError: Another stopgap is at work on that name.
        """
        problem = f"Another stopgap is starting or stopping {name!r} just now."
        error = DeploymentError(problem, "Wait until it is done, then try again.")
        with self._locked(f"deployment-{name}", patience_s, error):
            yield

    @contextlib.contextmanager
    def locked_observer(self, kind: str, name: str) -> Iterator[None]:
        """
        Args:
            kind: The word for it: `shadow`, say.

        Raises:
            DeploymentError: Another stopgap is at work on that one of the model's observers.
        """
        problem = f"Another stopgap is beginning or ending the {kind} of {name!r} just now."
        with self._locked(f"{kind}-{name}", 0, DeploymentError(problem, "Wait until it is done, then try again.")):
            yield

    @contextlib.contextmanager
    def locked_front(self, grpc_port: int) -> Iterator[None]:
        """Waits for its turn: a front is held for seconds, while a model joins or leaves."""
        problem = f"Another stopgap has been changing the front at port {grpc_port} for {FRONT_LOCK_TIMEOUT_S} s."
        error = DeploymentError(problem, "Look for a stopgap process that hangs: pgrep -af stopgap")
        with self._locked(f"front-{grpc_port}", FRONT_LOCK_TIMEOUT_S, error):
            yield

    @contextlib.contextmanager
    def locked_traffic(self, name: str) -> Iterator[None]:
        """Waits for whoever is noting what is still asked of that legacy model, which takes milliseconds."""
        error = DeploymentError(f"Another stopgap is counting what {name} is asked.", "Try again.")
        with self._locked(f"traffic-{name}", TRAFFIC_LOCK_TIMEOUT_S, error):
            yield

    @contextlib.contextmanager
    def locked_sunset(self, digest: str) -> Iterator[None]:
        """Waits for whoever is agreeing upon the date of the same model. Who wants a front's lock too takes that first.

        Raises:
            DeploymentError: It took too long.
        """
        problem = f"Another stopgap has been serving the same model, or moving its date, for {SUNSET_LOCK_TIMEOUT_S} s."
        error = DeploymentError(problem, "Look for a stopgap process that hangs: pgrep -af stopgap")
        with self._locked(f"sunset-{digest}", SUNSET_LOCK_TIMEOUT_S, error):
            yield

    @contextlib.contextmanager
    def locked_loading(self, digest: str, patience_s: float) -> Iterator[None]:
        """Waits for whoever is starting a sandbox of the same content.

        Raises:
            DeploymentError: It took longer than `patience_s`.
        """
        problem = f"Another process has been loading the same model for {patience_s:.0f} s."
        error = DeploymentError(problem, "Look what it is doing: pgrep -af python; stopgap status")
        with self._locked(f"loading-{digest}", patience_s, error):
            yield

    @contextlib.contextmanager
    def _locked(self, name: str, timeout_s: float, refusal: DeploymentError) -> Iterator[None]:
        folder = self.folder / "locks"
        try:
            self._make_private(folder)
            lock = FileLock(folder / f"{name}.lock", timeout=timeout_s)
            lock.acquire()
        except Timeout as error:
            raise refusal from error
        except OSError as error:
            raise self._unusable(error) from error
        try:
            yield
        finally:
            lock.release()

    @property
    def _deployments(self) -> Path:
        return self.folder / "deployments"

    def _file(self, name: str) -> Path:
        return self._deployments / f"{name}.json"

    def _hand_over_file(self, name: str) -> Path:
        return self.folder / "handovers" / f"{check_name(name)}.json"

    def _traffic_file(self, name: str) -> Path:
        return self.folder / "handovers" / "traffic" / f"{check_name(name)}.json"

    def _hand_over_names(self) -> list[str]:
        return sorted(file.stem for file in (self.folder / "handovers").glob("*.json"))

    def _recorded(self, file: Path, read: Callable[[Any], T], what: str, remedy: str) -> T | None:
        """What a file of JSON records; None where it is not there.

        Raises:
            DeploymentError: It cannot be read.
        """
        try:
            return read(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        except UNREADABLE as error:
            raise DeploymentError(
                f"The record of {what}, {file}, is damaged ({type(error).__name__}: {error}).",
                f"{remedy}: rm {shlex.quote(str(file))}",
            ) from error

    def _hand_over_or_damage(self, name: str) -> HandOver | DeploymentError | None:
        try:
            return self.hand_over(name)
        except DeploymentError as error:
            return error

    def _sunset_file(self, digest: str) -> Path:
        return self.folder / "sunsets" / f"{digest}.json"

    def _write(self, file: Path, content: dict[str, Any]) -> None:
        partial = file.with_suffix(".partial")
        try:
            self._make_private(file.parent)
            with partial.open("w", encoding="utf-8") as stream:
                stream.write(json.dumps(content, indent=1) + "\n")
                stream.flush()
                os.fsync(stream.fileno())  # or the rename could reach the disk before the text does
            partial.replace(file)
        except OSError as error:
            raise self._unusable(error) from error

    def _make_private(self, folder: Path) -> None:
        """Makes `folder`; the state folder itself is for its owner alone, the reason for all the open modes below."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        folder.mkdir(parents=True, exist_ok=True)

    def _all(self) -> Iterator[Deployment | Damaged | None]:
        try:
            files = sorted(self._deployments.glob("*.json"))
        except OSError as error:
            raise self._unusable(error) from error
        return (self._read_or_damaged(file) for file in files)

    def _read_or_damaged(self, file: Path) -> Deployment | Damaged | None:
        try:
            return self._read(file)
        except Damaged as damage:
            return damage

    def _read(self, file: Path) -> Deployment | None:
        try:
            return self._as_agreed_since(read(json.loads(file.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            return None
        except (*UNREADABLE, DeploymentError) as error:
            raise Damaged(file, error) from error
        except OSError as error:
            raise self._unusable(error) from error

    def _as_agreed_since(self, deployment: Deployment) -> Deployment:
        """With the date of its model as it is now; its own copy counts where the record is gone or damaged."""
        with contextlib.suppress(DeploymentError):
            return replace(deployment, sunset=self.sunset(deployment.sunset.digest) or deployment.sunset)
        return deployment

    def _unusable(self, error: OSError) -> DeploymentError:
        return DeploymentError(
            f"The state folder {self.folder} cannot be used: {error.strerror}: {error.filename or self.folder}.",
            "Make room or mend its permissions, or choose another folder with STOPGAP_STATE.",
        )


def remove_tree(folder: Path) -> None:
    """Removes a folder into which a sandbox may have written.

    Symbolic links in it are removed, never followed: `shutil.rmtree` opens each folder relative to its parent with
    O_NOFOLLOW (where the platform can, which includes Linux and macOS). A link in the folder's own place is unlinked.

    Raises:
        DeploymentError: Something in it belongs to the sandbox's user and cannot be removed by ours.
    """
    try:
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise DeploymentError(
            f"The folder {folder} cannot be removed: {error.strerror}: {error.filename or folder}.",
            f"Remove it as root: sudo rm -rf {folder}",
        ) from error


def written(deployment: Deployment) -> dict[str, Any]:
    """As JSON can hold it."""
    fields = asdict(deployment)
    return {
        **fields,
        "model": os.fspath(deployment.model),
        "op_libraries": [os.fspath(library) for library in deployment.op_libraries],
        "sunset": sunsets.written(deployment.sunset),
        "created": deployment.created.isoformat(),
    }


def read(fields: dict[str, Any]) -> Deployment:
    """The reverse of `written`; raises what a damaged file makes it raise."""
    return Deployment(
        **{
            **fields,
            "model": Path(fields["model"]),
            "tags": tuple(fields["tags"]),
            "also_called": tuple(fields.get("also_called", ())),
            "op_libraries": tuple(Path(library) for library in fields["op_libraries"]),
            "sunset": sunsets.read(fields["sunset"]),
            "created": datetime.fromisoformat(fields["created"]),
            "limits": Limits(**fields["limits"]),
            "timeouts": Timeouts(**fields["timeouts"]),
            "front": Address(**fields["front"]),
        }
    )
