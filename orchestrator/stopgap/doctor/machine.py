"""The machine as the checks see it: where things are, what the time is, and what several checks want to know."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from platformdirs import user_cache_path

from stopgap import bundles
from stopgap.bundle_rows import BundleRow, default_row
from stopgap.bundles import Bundle
from stopgap.doctor.docker_seen import Hanging, see_docker
from stopgap.doctor.finding import Untold
from stopgap.doctor.inside import Inside, look_inside
from stopgap.doctor.once import Once, given
from stopgap.engines.choice import AUTO, BUBBLEWRAP, Choice, Engines
from stopgap.errors import StopgapError
from stopgap.settings import Address
from stopgap.store import Deployment, Store

__all__ = ["Machine"]


class Machine:
    """What the checks look at. What a test cannot break for real, it hands in.

    Args:
        model: The folder that a person asks about, if any.
        cache: Where bundles and roots are kept.
        proc: Where the kernel tells of itself.
        selinux: Where SELinux does.
        now: With its time zone.
    """

    def __init__(
        self,
        store: Store,
        model: Path | None = None,
        *,
        cache: Path | None = None,
        proc: Path = Path("/proc"),
        selinux: Path = Path("/sys/fs/selinux"),
        now: datetime | None = None,
    ) -> None:
        self.store = store
        self.model = model
        self.cache = cache or user_cache_path("stopgap")
        self.proc = proc
        self.selinux = selinux
        self.now = now or datetime.now(timezone.utc).astimezone()
        self.address = Address()
        self.engines = Engines(store.folder)
        self.choice = Once(self._choice, "no engine works here")
        self.docker = Once(lambda: see_docker(self.engines), "no Docker engine answers us")
        self.inside_docker = Once(self._inside_docker, "no container of ours runs there")
        self.bubblewrap = Once(lambda: self.engines.choose(BUBBLEWRAP, joined=None).engine, "bubblewrap does not work")
        self.bundle = Once(self._bundle, "the cache does not tell")
        self.deployments = Once(self._deployments, "the state folder does not tell")

    @property
    def row(self) -> BundleRow:
        """Of the bundle that `serve` takes unless told otherwise."""
        return default_row("legacy")

    def check_not_hanging(self) -> None:
        """To be called before anything that would wait a minute for an engine that hangs.

        Raises:
            Untold: It would.
        """
        try:
            self.docker()
        except Hanging as error:
            raise Untold("not looked at: it would wait a minute for the Docker engine, which hangs") from error
        except StopgapError:
            return  # what does not answer says so at once

    def _choice(self) -> Choice:
        self.check_not_hanging()
        return self.engines.choose(AUTO, joined=None)

    def _bundle(self) -> Bundle | None:
        """That bundle, where it has been fetched."""
        return next(entry.bundle for entry in bundles.listed(cache=self.cache) if entry.row == self.row)

    def _inside_docker(self) -> Inside:
        docker, bundle = given(self.docker), self.bundle()
        tag = docker.image(self.row.kind, bundle) if bundle else None
        if tag is None:
            raise Untold("not looked at: there is no image of a sandbox yet to look from; the first serve builds it")
        return look_inside(docker.socket, tag)

    def _deployments(self) -> tuple[Deployment, ...]:
        check_can_be_listed(self.store.folder)
        return self.store.deployments()


def check_can_be_listed(folder: Path) -> None:
    """
    Raises:
        Untold: It is there, and closed to us: then what is in it must not pass for nothing.
    """
    try:
        next(folder.iterdir(), None)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Untold(f"not looked at: the state folder {folder} cannot be read: {error.strerror}") from error
