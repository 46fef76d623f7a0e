"""All deployments, and what observes them, as Prometheus sees them: looked at when somebody asks, not changed by it.

There is no daemon: what this tells is what the state folder, the engines and the fronts tell in that moment.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Thread

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from stopgap.errors import DeploymentError
from stopgap.metrics.deployments import dates, incidents, requests, states, workers
from stopgap.metrics.families import gauge
from stopgap.metrics.looking import Seen, looked_at
from stopgap.metrics.observers import observers
from stopgap.metrics.splits import splits
from stopgap.store import Store

__all__ = ["FAMILIES", "Exporter", "exported", "exposition"]

# Each makes its families from what was seen of all deployments.
FAMILIES: tuple[Callable[[Sequence[Seen]], Iterable[Metric]], ...] = (
    dates,
    states,
    workers,
    incidents,
    requests,
    splits,
)


@dataclass(frozen=True)
class Exporter:
    """A server that is up, on a thread of its own.

    Attributes:
        port: The one that it has, also where the kernel chose it.
    """

    port: int
    thread: Thread


def exposition(store: Store) -> str:
    """The metrics in Prometheus' text format, once.

    Raises:
        DeploymentError: The state folder cannot be read.
    """
    return generate_latest(registry(store)).decode()


def exported(store: Store, host: str, port: int) -> Exporter:
    """Serves the same at `http://HOST:PORT/metrics`, looked at anew for each who asks.

    Raises:
        DeploymentError: The address is not the loopback's, or it is taken.
    """
    check_loopback(host)
    try:
        server, thread = start_http_server(port, host, registry(store))
    except OSError as error:
        raise DeploymentError(
            f"{host}:{port} cannot be listened on: {error.strerror}.", "Choose another: --listen HOST:PORT"
        ) from error
    return Exporter(server.server_port, thread)


def check_loopback(host: str) -> None:
    """The pages have no password: who is elsewhere comes through something that has one."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise DeploymentError(
            f"{host!r} is not an address of this machine's loopback.",
            "Listen on 127.0.0.1 or ::1, behind a proxy that asks who it is; or hand --once to node_exporter.",
        )


def registry(store: Store) -> CollectorRegistry:
    """One that has nothing of this process itself."""
    found = CollectorRegistry(auto_describe=False)
    found.register(Deployments(store))
    return found


class Deployments(Collector):
    """Looks at all deployments whenever it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Every family, also those without a sample: a rule about them then has something to look at."""
        seen = looked_at(self._store)
        for families in FAMILIES:
            yield from families(seen)
        yield from observers(self._store)
        store = self._store
        damaged = (store.damaged(), store.damaged_sunsets(), store.hand_overs_damaged())
        yield gauge("stopgap_state_files_damaged", "State files that cannot be read.", {(): sum(map(len, damaged))})

    def describe(self) -> Iterable[Metric]:
        """Nothing: so that no engine is asked before somebody asks us."""
        return ()
