"""The fronts that run: a model joins one or leaves it by files; the first brings it up, the last takes it along."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from stopgap.containment.specs import FrontSpec, front_container, front_memory_mib
from stopgap.engines.choice import Engines, option_for
from stopgap.engines.protocol import Engine, Observed, State
from stopgap.errors import FrontError
from stopgap.front.admin import Admin, Applied
from stopgap.front.config import FrontSettings, Mirror, Upstream, configuration
from stopgap.front.xds import is_published, publish
from stopgap.observers import Wanted
from stopgap.ports import check_ports_free
from stopgap.printable import printable
from stopgap.recordings import RECORDINGS
from stopgap.settings import Address
from stopgap.shadows import SHADOWS, Shadow
from stopgap.store import Deployment, Store
from stopgap.sunset import last_moment
from stopgap.takeovers import takeovers_among

__all__ = ["Fronts", "Step", "close_abandoned", "decide"]

LOG_TAIL = 20
STOP_TIMEOUT_S = 5
START_TIMEOUT_S = 20.0
APPLY_TIMEOUT_S = 15.0
LOOK_EVERY_S = 0.02


class Step(Enum):
    """What may have to be done so that a front routes to the models that it should."""

    REMOVE = "remove its container"
    WIDEN = "give it the memory that the largest messages need"
    PUBLISH = "write its configuration"
    START = "start its container"
    CONFIRM = "wait until the configuration is in force"


def decide(observed: Observed | None) -> tuple[Step, ...]:
    """The steps from what is there to a front that routes as it should, in order."""
    if observed is None:
        return (Step.PUBLISH, Step.START, Step.CONFIRM)
    if observed.state is State.RUNNING:
        return (Step.WIDEN, Step.PUBLISH, Step.CONFIRM)
    return (Step.REMOVE, Step.PUBLISH, Step.START, Step.CONFIRM)


@dataclass(frozen=True)
class Update:
    """A configuration that was written, and what was in force before it."""

    admin: Admin
    versions: Mapping[str, str] = field(default_factory=dict)
    before: Applied | None = None


@dataclass(frozen=True)
class Fronts:
    """All fronts of one state folder. Its methods are called with the front's lock held."""

    engine: Engine
    store: Store

    def check(self, address: Address) -> None:
        """
        Raises:
            FrontError: A front of ours is there but listens elsewhere, or a stranger has the port.
        """
        observed = self.engine.observe(front_container(address.grpc_port))
        if observed is not None and not self._is_ours(observed):
            raise FrontError(
                f"Port {address.grpc_port} is taken by the front of another state folder, "
                f"{printable(observed.labels.get('stopgap.state', 'unknown'))}.",
                "Choose another --port, or set STOPGAP_STATE to that folder.",
            )
        for other in self.store.behind(address.grpc_port):
            self._check_same(address, other)
        if observed is None or observed.state is not State.RUNNING:
            check_ports_free(address)

    def join(self, newcomer: Deployment, image: str) -> None:
        """From now on the front routes to `newcomer` as well; it is started where it is not there.

        Raises:
            FrontError: It did not come up, or did not accept what it was told.
        """
        address = newcomer.front
        self.check(address)
        models = (*self.store.behind(address.grpc_port), newcomer)
        container = front_container(address.grpc_port)
        update = Update(self._admin(address))
        for step in decide(self.engine.observe(container)):
            if step is Step.REMOVE:
                self.engine.remove(container)
            elif step is Step.WIDEN:
                self.engine.widen(container, front_memory_mib(largest_message_mib(models)))
            elif step is Step.PUBLISH:
                update = self._publish(address, models)
            elif step is Step.START:
                self.engine.start(self._spec(address, models, image))
                self._wait_until_ready(address)
            elif step is Step.CONFIRM:
                self._confirm(update, container)

    def leave(self, address: Address) -> bool:
        """Stops routing to whoever is leaving; False where the front is not there to be told.

        It stays up without any model behind it, while the last one finishes what it has begun.
        """
        return self.refresh(address)

    def refresh(self, address: Address) -> bool:
        """Has the front work with what the store says now; False where it is not there to be told.

        Raises:
            FrontError: It did not accept what it was told.
        """
        update = self._publish(address, self.store.behind(address.grpc_port))
        if not self.is_running(address):
            return False
        self._confirm(update, front_container(address.grpc_port))
        return True

    def is_told(self, address: Address) -> bool:
        """Whether the front's files say what the store says: not, where a command was killed between the two."""
        files = self._files(address, self.store.behind(address.grpc_port))
        return is_published(self.store.front_folder(address.grpc_port) / "xds", files)

    def close_if_empty(self, port: int) -> None:
        """Ends the front that nobody is behind: neither one who is leaving, nor one who is about to join."""
        if is_needed(port, self.store):
            return
        container = front_container(port)
        observed = self.engine.observe(container)
        if observed is not None and self._is_ours(observed):
            self.engine.stop(container, STOP_TIMEOUT_S)
            self.engine.remove(container)
        self.store.remove_front_folder(port)

    def is_running(self, address: Address) -> bool:
        observed = self.engine.observe(front_container(address.grpc_port))
        return observed is not None and observed.state is State.RUNNING and self._is_ours(observed)

    def _check_same(self, address: Address, other: Deployment) -> None:
        """All behind one front share its engine and its whole address."""
        if other.engine != self.engine.name:
            raise FrontError(
                f"The front at port {address.grpc_port} runs on {other.engine}, not on {self.engine.name}.",
                f"Join it with --engine {option_for(other.engine)}, or choose another --port.",
            )
        if other.front.bind != address.bind:
            raise FrontError(
                f"The front at port {address.grpc_port} listens on {other.front.bind}, not on {address.bind}.",
                f"Join it with --bind {other.front.bind}, or choose another --port.",
            )
        if other.front.rest_port != address.rest_port:
            raise FrontError(
                f"The front at port {address.grpc_port} has REST at port {other.front.rest_port}, "
                f"not at {address.rest_port}.",
                f"Join it with --rest-port {other.front.rest_port}, or choose another --port.",
            )

    def _is_ours(self, observed: Observed) -> bool:
        return observed.labels.get("stopgap.state") == str(self.store.folder)

    def _publish(self, address: Address, models: Sequence[Deployment]) -> Update:
        folder = self.store.make_front_folder(address.grpc_port)
        files = self._files(address, models)
        admin = self._admin(address)
        before = admin.applied() if self.is_running(address) and admin.ready() else None
        return Update(admin, publish(folder / "xds", files), before)

    def _files(self, address: Address, models: Sequence[Deployment]) -> Mapping[str, str]:
        """All that the front is to be told: from nothing but what the store says, and who is about to join."""
        settings = FrontSettings(
            # Docker forwards a published port to the container's own address, so there the front listens everywhere.
            bind=address.bind if self._on_host_network() else "0.0.0.0",  # noqa: S104
            grpc_port=address.grpc_port,
            rest_port=address.rest_port,
            max_message_mib=largest_message_mib(models),
        )
        takeovers = takeovers_among(self.store.hand_overs_behind(address.grpc_port), models)
        wanted = (*SHADOWS.all(self.store), *RECORDINGS.all(self.store))
        return configuration(settings, [upstream_of(model, wanted) for model in models], takeovers)

    def _wait_until_ready(self, address: Address) -> None:
        """Until Envoy is ready or has ended, whichever comes first."""
        container, admin = front_container(address.grpc_port), self._admin(address)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not admin.ready():
            observed = self.engine.observe(container)
            if observed is None or observed.ended or time.monotonic() > deadline:
                lines = [printable(line) for line in self.engine.logs(container, LOG_TAIL)]
                raise FrontError(
                    f"The front at {address} did not come up: its admin socket in {admin.folder} does not say ready.",
                    "\n".join(["Its last lines:", *lines]) if lines else "",
                )
            time.sleep(LOOK_EVERY_S)

    def _confirm(self, update: Update, container: str) -> None:
        update.admin.wait_until_applied(
            update.versions, APPLY_TIMEOUT_S, update.before, lambda: self.engine.logs(container, LOG_TAIL)
        )

    def _admin(self, address: Address) -> Admin:
        return Admin(self.store.front_folder(address.grpc_port) / "admin")

    def _spec(self, address: Address, models: Sequence[Deployment], image: str) -> FrontSpec:
        return FrontSpec(
            address=address,
            image=image,
            state=self.store.folder,
            folder=self.store.front_folder(address.grpc_port),
            on_host_network=self._on_host_network(),
            max_message_mib=largest_message_mib(models),
        )

    def _on_host_network(self) -> bool:
        return self.engine.limits().shares_host_network


def close_abandoned(engines: Engines, store: Store) -> None:
    """Ends the fronts that nobody is behind: a `stop` that was killed had forgotten its model, and not yet closed them.

    The labels are the truth; where the kill came between the container and its folder, the folder is there alone.
    """
    answering = engines.answering()
    wanted = {"stopgap.role": "front", "stopgap.state": str(store.folder)}
    labelled = (labels for engine in answering for labels in engine.labelled(wanted))
    ports = {int(labels["stopgap.name"]) for labels in labelled} | store.front_ports()
    for port in sorted(port for port in ports if not is_needed(port, store)):
        with store.locked_front(port):
            for engine in answering:
                Fronts(engine, store).close_if_empty(port)


def is_needed(port: int, store: Store) -> bool:
    """Whether there is a model behind the front at that port, or a sandbox whose model is about to join it."""
    return any(each.front.grpc_port == port for each in store.deployments()) or store.has_sandboxes(port)


def upstream_of(model: Deployment, wanted: Sequence[Wanted] = ()) -> Upstream:
    """
    Args:
        wanted: All observers: the model's own, and those that ask it as somebody's candidate.
    """
    asking = [each for each in wanted if model.name in each.asks]
    shadows = [each for each in asking if isinstance(each, Shadow)]
    return Upstream(
        model.name,
        model.workers,
        retried=not model.changes_state,
        # A model that needs stopgap is a deprecated one: so, since it was first served by it.
        deprecated_at=model.sunset.first_served,
        sunset_at=last_moment(model.until),
        mirrors=tuple(Mirror(each.kind, each.mirrored) for each in asking if each.name == model.name),
        observers=tuple(each.token for each in asking),
        only_observed=any(shadow.served_for_it and shadow.candidate == model.name for shadow in shadows),
    )


def largest_message_mib(models: Sequence[Deployment]) -> int:
    return max((model.max_message_mib for model in models), default=FrontSettings.max_message_mib)
