"""Asks a running Envoy, over its admin socket, whether it is ready and which configuration is in force."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stopgap.errors import FrontError
from stopgap.front.config import CLUSTERS, GRPC_ROUTES, LISTENERS, READINESS, REST_ROUTES
from stopgap.front.grpc_listener import GRPC_LISTENER
from stopgap.front.readiness import READINESS_FILTER
from stopgap.front.rest_listener import REST_LISTENER

__all__ = ["Admin", "Applied", "ClusterHealth"]

# An answer as a whole: neither silence nor a byte now and then holds a command up for longer.
_TIMEOUT_S = 2.0
_LARGEST_ANSWER_BYTES = 32 * 2**20
_POLL_S = 0.02
# Envoy takes up a file within some milliseconds of its renaming.
_SETTLED_S = 1.0

# Where Envoy counts what became of each file.
_STATS = {
    CLUSTERS: "cluster_manager.cds",
    LISTENERS: "listener_manager.lds",
    GRPC_ROUTES: f"http.{GRPC_LISTENER}.rds.{GRPC_LISTENER}",
    REST_ROUTES: f"http.{REST_LISTENER}.rds.{REST_LISTENER}",
    READINESS: f"extension_config_discovery.http_filter.{READINESS_FILTER}",
}
_WARMING = ("cluster_manager.warming_clusters", "listener_manager.total_listeners_warming")


@dataclass(frozen=True)
class Applied:
    """What Envoy has made of its files so far.

    Args:
        versions: File name → the `version_info` in force, "" before the first.
        refusals: File name → how often a new content was refused or could not be read.
        warming: Clusters and listeners that are known and not yet in use.
    """

    versions: Mapping[str, str]
    refusals: Mapping[str, int]
    warming: int


@dataclass(frozen=True)
class ClusterHealth:
    """How many of a model's workers answer their health check."""

    healthy: int
    workers: int


@dataclass(frozen=True)
class Admin:
    """A front's admin page.

    Args:
        folder: The folder that holds `admin.sock`, as this process sees it.
    """

    folder: Path

    def ready(self) -> bool:
        """Whether Envoy has its first configuration and takes requests; False also while there is no Envoy."""
        try:
            return self._status_of("/ready") == 200
        except (OSError, http.client.HTTPException, FrontError):
            return False

    def applied(self) -> Applied:
        """What is in force now.

        Raises:
            FrontError: No Envoy answers.
        """
        wanted = "|".join((*_STATS.values(), *_WARMING)).replace(".", r"\.")
        stats = {entry["name"]: entry.get("value") for entry in self.statistics(f"^({wanted})")}
        texts = {name: str(stats.get(f"{stat}.version_text", "")) for name, stat in _STATS.items()}
        return Applied(
            versions=texts,
            refusals={name: _refusals(stats, stat) for name, stat in _STATS.items()},
            warming=sum(_count(stats, name) for name in _WARMING),
        )

    def wait_until_applied(
        self,
        versions: Mapping[str, str],
        timeout_s: float,
        since: Applied | None = None,
        log: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """Return once Envoy works with these versions, its new clusters and listeners warmed up.

        Args:
            versions: What `publish` returned.
            timeout_s: How long to wait.
            since: What was in force before `publish`. With it a refusal is seen at once; without it a file counts as
                refused that is not in force within a second, if Envoy has refused one of its name before.
            log: Gives the last lines that Envoy wrote; of a refused cluster or route they alone tell the reason.

        Raises:
            FrontError: Envoy refused a file (the old configuration stays in force), or time is up.
        """
        started = time.monotonic()
        while True:
            now, trouble = self._look()
            elapsed_s = time.monotonic() - started
            if now is not None:
                if _in_force(now, versions):
                    return
                if since is not None or elapsed_s > _SETTLED_S:
                    self._check_refusals(since.refusals if since else {}, now, versions, log)
            if elapsed_s >= timeout_s:
                raise FrontError(
                    f"The front did not take up its configuration within {timeout_s:g} s: "
                    f"{trouble or _missing(now, versions)}.",
                    _reason_from(log()) or "Its log tells more.",
                )
            time.sleep(_POLL_S)

    def statistics(self, pattern: str) -> list[dict[str, Any]]:
        """Envoy's counters, gauges and texts whose whole names the pattern finds: each with `name` and `value`.

        Raises:
            FrontError: No Envoy answers.
        """
        stats = _objects(self._json(f"/stats?format=json&type=All&filter={quote(pattern)}"), "stats")
        return [entry for entry in stats if isinstance(entry.get("name"), str)]

    def histograms(self, pattern: str) -> list[dict[str, Any]]:
        """Its histograms likewise: each with `name` and `totals`, bins that have `lower_bound`, `width` and `count`.

        Raises:
            FrontError: No Envoy answers.
        """
        query = f"format=json&type=Histograms&histogram_buckets=detailed&filter={quote(pattern)}"
        stats = _objects(self._json(f"/stats?{query}"), "stats")
        return [each for entry in stats for each in _objects(_object(entry, "histograms"), "details")]

    def uptime_s(self) -> int:
        """How long it has run, in whole seconds: since then it has counted.

        Raises:
            FrontError: No Envoy answers.
        """
        found = {entry["name"]: entry.get("value") for entry in self.statistics(r"^server\.uptime$")}
        return _count(found, "server.uptime")

    def cluster_health(self, name: str) -> ClusterHealth:
        """The health of one model's workers as Envoy sees it; its retry lane, at a priority of its own, is none.

        Raises:
            FrontError: No Envoy answers, or it knows no such model.
        """
        for cluster in _objects(self._json("/clusters?format=json"), "cluster_statuses"):
            if cluster.get("name") == name:
                hosts = [host for host in _objects(cluster, "host_statuses") if not host.get("priority", 0)]
                return ClusterHealth(healthy=sum(map(_is_healthy, hosts)), workers=len(hosts))
        raise FrontError(f"The front knows no model {name}.")

    def grpc_port(self) -> int:
        """The port that the gRPC listener has, also where the kernel chose it.

        Raises:
            FrontError: No Envoy answers, or it does not listen.
        """
        return self._port(GRPC_LISTENER)

    def rest_port(self) -> int:
        """The port that the REST listener has, likewise."""
        return self._port(REST_LISTENER)

    def _port(self, name: str) -> int:
        for listener in _objects(self._json("/listeners?format=json"), "listener_statuses"):
            if listener.get("name") == name:
                return _count(_object(_object(listener, "local_address"), "socket_address"), "port_value")
        raise FrontError(f"The front has no listener {name}.", "Its log tells why.")

    def _look(self) -> tuple[Applied | None, str]:
        """What is in force, or why that cannot be told."""
        try:
            return self.applied(), ""
        except FrontError as error:
            return None, error.problem.rstrip(".")

    def _check_refusals(
        self, before: Mapping[str, int], now: Applied, versions: Mapping[str, str], log: Callable[[], Iterable[str]]
    ) -> None:
        for name, version in versions.items():
            if now.versions[name] != version and now.refusals[name] > before.get(name, 0):
                reason = self._listener_error() if name == LISTENERS else ""
                raise FrontError(
                    f"The front refused {name} and keeps its old configuration.",
                    reason or _reason_from(log()) or "Its log tells why.",
                )

    def _listener_error(self) -> str:
        """Why a listener was refused: the only refusals whose reason the admin page knows."""
        dump = self._json("/config_dump?resource=dynamic_listeners")
        errors = (_object(listener, "error_state") for listener in _objects(dump, "configs"))
        return next((str(error["details"]) for error in errors if "details" in error), "")

    def _json(self, path: str) -> dict[str, Any]:
        try:
            content = json.loads(self._get(path)[1])
        except (OSError, http.client.HTTPException) as error:
            raise FrontError(f"The front's admin socket in {self.folder} does not answer: {error}.") from error
        except (ValueError, RecursionError) as error:
            raise FrontError(f"The front's admin page answered {path} with something that is not JSON.") from error
        return content if isinstance(content, dict) else {}

    def _status_of(self, path: str) -> int:
        return self._get(path)[0]

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = _AdminConnection(self.folder)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read(_LARGEST_ANSWER_BYTES + 1)
        finally:
            connection.close()
        if len(body) > _LARGEST_ANSWER_BYTES:
            raise FrontError(f"The front's admin page answered {path} with more than {_LARGEST_ANSWER_BYTES} bytes.")
        return response.status, body


class _AdminConnection(http.client.HTTPConnection):
    """HTTP to `admin.sock` in a folder whose path may be longer than a socket's."""

    def __init__(self, folder: Path) -> None:
        super().__init__("envoy", timeout=_TIMEOUT_S)
        self._folder = folder

    def connect(self) -> None:
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = _PunctualSocket(time.monotonic() + _TIMEOUT_S)
            self.sock.settimeout(_TIMEOUT_S)
            self.sock.connect(f"/proc/self/fd/{folder}/admin.sock")
        finally:
            os.close(folder)


class _PunctualSocket(socket.socket):
    """One that receives until a moment of `time.monotonic()`, however slowly the other side sends."""

    def __init__(self, deadline: float) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._deadline = deadline

    def recv_into(self, *arguments: Any) -> int:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("it has not answered in time")
        self.settimeout(left_s)
        return super().recv_into(*arguments)


def _object(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What is there under a name; nothing, where that is no object."""
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _objects(content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = content.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _count(content: Mapping[str, Any], name: str) -> int:
    found = content.get(name)
    return found if isinstance(found, int) else 0


def _refusals(stats: Mapping[str, Any], stat: str) -> int:
    return _count(stats, f"{stat}.update_rejected") + _count(stats, f"{stat}.update_failure")


def _in_force(now: Applied, versions: Mapping[str, str]) -> bool:
    return now.warming == 0 and all(now.versions[name] == version for name, version in versions.items())


def _missing(now: Applied | None, versions: Mapping[str, str]) -> str:
    behind = [name for name, version in versions.items() if now is None or now.versions[name] != version]
    return f"{', '.join(behind)} not taken up" if behind else "a model behind it is still warming up"


def _reason_from(lines: Iterable[str]) -> str:
    """The last line in which Envoy says that it did not take a file, without its prefix of times and places."""
    marker = "Filesystem config update "
    told = [line.partition(marker)[2] for line in lines if marker in line]
    return told[-1].strip() if told else ""


def _is_healthy(host: Mapping[str, Any]) -> bool:
    return not _object(host, "health_status").get("failed_active_health_check", False)
