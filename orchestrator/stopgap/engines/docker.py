"""The Docker engine: the only file that imports `docker`. What its API says becomes our own values and errors."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests
from docker.context import ContextAPI
from docker.errors import APIError, BuildError, DockerException, ImageNotFound, NotFound
from docker.utils import kwargs_from_env
from docker.utils.json_stream import json_stream

from stopgap.containment import KEPT, MIB, ContainerSpec, arguments
from stopgap.engines.protocol import EngineLimits, Observed, State
from stopgap.errors import EngineError, ImageError

__all__ = ["DockerEngine", "connect"]

API_TIMEOUT_S = 60
BUILD_STEP_TIMEOUT_S = 600  # copying a library of 250 MB into a layer is one step, and says nothing until it is done
BUILD_LOG_TAIL = 20
LONGEST_LINE = 64 << 10  # who never ends a line does not fill our memory

STATES = {
    "created": State.CREATED,
    "running": State.RUNNING,
    "paused": State.RUNNING,
    "restarting": State.RESTARTING,
    "removing": State.EXITED,
    "exited": State.EXITED,
    "dead": State.EXITED,
}


@dataclass(frozen=True)
class Trouble:
    """One row of the table by which Docker's errors become ours: the first whose pattern is found in the text holds."""

    pattern: str
    problem: str
    remedy: str


# `{engine}` is the engine's address, `{text}` what it or the SDK said.
TROUBLES = (
    Trouble(
        r"Permission ?denied.*|EACCES",
        "No permission to use the Docker engine at {engine}.",
        "Join its group (sudo usermod -aG docker $USER, then log in again), or run this as root.",
    ),
    Trouble(
        r"FileNotFoundError|ConnectionRefusedError|Connection ?refused|No such file or directory.*sock"
        r"|NameResolutionError|Connection aborted|RemoteDisconnected|Max retries exceeded",
        "No Docker engine answers at {engine}.",
        "Start it (sudo systemctl start docker, or: sudo service docker start; on a desktop open Docker Desktop), "
        "or choose another (docker context use NAME, DOCKER_HOST).",
    ),
    Trouble(
        r"[Rr]ead timed out|ReadTimeout|ConnectTimeout",
        "The Docker engine at {engine} did not answer in time.",
        "Look at what keeps it busy (docker info); restarting it helps when it hangs.",
    ),
    Trouble(
        r"no space left on device|disk quota exceeded|not enough space",
        "The Docker engine's disk is full: {text}",
        "Make room: docker system df shows what takes it, docker image prune removes what nobody uses.",
    ),
    Trouble(
        r"port is already allocated|address already in use",
        "The port is taken: {text}",
        "Choose another with --port.",
    ),
    Trouble(
        r"[Cc]onflict.*name .* is already in use",
        "A container of that name exists already: {text}",
        "Choose another --name, or remove the container: docker rm -f NAME.",
    ),
    Trouble(r"[Nn]o such image", "The image is missing: {text}", "Serve again: it is then built anew."),
    Trouble(
        r"bind source path does not exist|invalid mount config",
        "The engine cannot mount one of the folders: {text}",
        "Docker must see this machine's files: on a desktop, share the folder in its settings.",
    ),
)
UNKNOWN_TROUBLE = Trouble("", "The Docker engine refused: {text}", "Its own log says more: journalctl -u docker.")


def trouble(error: Exception, engine: str) -> EngineError:
    """The EngineError for anything that docker-py or the HTTP library below it raises."""
    explanation = getattr(error, "explanation", None)
    text = " ".join(str(explanation or error).split())[:1000]
    row = next((row for row in TROUBLES if re.search(row.pattern, text)), UNKNOWN_TROUBLE)
    return EngineError(row.problem.format(engine=engine, text=text), row.remedy)


@contextlib.contextmanager
def translated(engine: str) -> Iterator[None]:
    try:
        yield
    except (DockerException, requests.exceptions.RequestException) as error:
        raise trouble(error, engine) from error


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens, and how one is let in."""

    host: str
    tls: Any = False

    @property
    def on_this_machine(self) -> bool:
        return self.host.startswith(("unix://", "http+unix://"))

    def __str__(self) -> str:
        return self.host.replace("http+unix://", "unix://")


def connect(environment: Mapping[str, str] = os.environ) -> DockerEngine:
    """The engine that the `docker` command would use.

    Raises:
        EngineError: Nothing answers there, it does not let us in, or it is on another machine.
    """
    endpoint = chosen_endpoint(environment)
    if not endpoint.on_this_machine:
        raise EngineError(
            f"The Docker engine at {endpoint} may be on another machine, which cannot mount this one's folders.",
            "Use one with a Unix socket: unset DOCKER_HOST, docker context use default.",
        )
    with translated(str(endpoint)):
        client = docker.APIClient(base_url=endpoint.host, tls=endpoint.tls, version="auto", timeout=API_TIMEOUT_S)
    return DockerEngine(client, endpoint)


def chosen_endpoint(environment: Mapping[str, str]) -> Endpoint:
    """As the `docker` command chooses: DOCKER_HOST, DOCKER_CONTEXT, then currentContext of ~/.docker/config.json."""
    host = environment.get("DOCKER_HOST")
    if host:
        with translated(host):
            settings: Mapping[str, Any] = kwargs_from_env(environment=dict(environment))
        return Endpoint(settings.get("base_url", host), settings.get("tls") or False)
    name = environment.get("DOCKER_CONTEXT") or None
    try:
        context = ContextAPI.get_context(name)
    except Exception as error:  # docker-py raises a bare Exception for a corrupt context
        raise EngineError(f"Docker's context cannot be read: {error}", "docker context ls shows them.") from error
    if context is None or not context.Host:
        raise EngineError(f"There is no Docker context {name or 'of that name'}.", "docker context ls shows them.")
    return Endpoint(context.Host, context.TLSConfig or False)


class DockerEngine:
    """Docker, behind the Engine protocol."""

    name = "docker"
    isolation = "runc"

    def __init__(self, api: docker.APIClient, endpoint: Endpoint) -> None:
        # Any: the published stubs know neither all arguments nor what the engine's JSON holds.
        self._api: Any = api
        self._endpoint = endpoint

    def limits(self) -> EngineLimits:
        with self._translated():
            info = self._api.info()
        options = info.get("SecurityOptions") or []
        desktop = info.get("OperatingSystem") == "Docker Desktop"
        return EngineLimits(
            cpus=info["NCPU"],
            memory_mib=info["MemTotal"] >> 20,
            machine=info["Architecture"],
            system=info["OSType"],
            # Docker Desktop runs in a virtual machine, a rootless engine in a network namespace of its own.
            shares_host_network=not desktop and "name=rootless" not in options,
        )

    def start(self, spec: ContainerSpec) -> None:
        wanted = arguments(spec)
        with self._translated():
            host = self._api.create_host_config(**wanted.host)
            self._api.create_container(host_config=host, **wanted.create)
        try:
            with self._translated():
                self._api.start(spec.container)
        except EngineError:
            self.remove(spec.container)
            raise

    def keep(self, container: str) -> None:
        with self._translated():
            self._api.update_container(container, restart_policy=KEPT)

    def widen(self, container: str, memory_mib: int) -> None:
        wanted = memory_mib * MIB
        with self._translated():
            if self._api.inspect_container(container)["HostConfig"]["Memory"] < wanted:
                self._api.update_container(container, mem_limit=wanted, memswap_limit=wanted)

    def stop(self, container: str, timeout_s: int) -> None:
        with self._translated(), contextlib.suppress(NotFound):
            self._api.stop(container, timeout=timeout_s)

    def remove(self, container: str) -> bool:
        with self._translated():
            try:
                self._api.remove_container(container, force=True, v=True)
            except NotFound:
                return False
        return True

    def labelled(self, labels: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
        with self._translated():
            found = self._api.containers(all=True, filters={"label": written_labels(labels)})
        return tuple(dict(container["Labels"] or {}) for container in found)

    def observe(self, container: str) -> Observed | None:
        with self._translated():
            try:
                seen = self._api.inspect_container(container)
            except NotFound:
                return None
        state = seen["State"]
        ended = state["FinishedAt"] and not state["FinishedAt"].startswith("0001-")
        return Observed(
            state=STATES.get(state["Status"], State.EXITED),
            exit_code=state["ExitCode"] if ended and not state["Running"] else None,
            out_of_memory=bool(state["OOMKilled"]),
            labels=dict(seen["Config"].get("Labels") or {}),
        )

    def logs(self, container: str, tail: int) -> tuple[str, ...]:
        with self._translated():
            try:
                text: bytes = self._api.logs(container, stdout=True, stderr=True, tail=tail)
            except NotFound:
                return ()
        return tuple(text.decode("utf-8", "replace").split("\n")[:-1])

    def follow(self, container: str, tail: int) -> Iterator[str]:
        rest = b""
        with self._translated():
            for piece in self._api.logs(container, stdout=True, stderr=True, tail=tail, stream=True, follow=True):
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > LONGEST_LINE:
                    lines, rest = [*lines, rest], b""
                yield from (line.decode("utf-8", "replace") for line in lines)
        if rest:
            yield rest.decode("utf-8", "replace")

    def memory_mib(self, container: str) -> float | None:
        with self._translated():
            try:
                # One shot: without it the engine waits a second for a second sample, to tell the CPU's load.
                statistics = self._api.stats(container, stream=False, one_shot=True)
            except NotFound:
                return None
        return memory_in_use(statistics.get("memory_stats") or {})

    def has_image(self, tag: str) -> bool:
        with self._translated():
            try:
                self._api.inspect_image(tag)
            except ImageNotFound:
                return False
        return True

    def build_image(self, context: Path, tag: str, labels: Mapping[str, str]) -> None:
        """Builds without a network and without asking a registry.

        Raises:
            ImageError: A step failed; carries the build log's tail.
        """
        log: list[str] = []
        with self._translated():
            events: Iterable[Any] = json_stream(
                self._api.build(
                    path=str(context),
                    tag=tag,
                    labels=dict(labels),
                    network_mode="none",
                    pull=False,
                    rm=True,
                    forcerm=True,
                    use_config_proxy=False,
                    timeout=BUILD_STEP_TIMEOUT_S,
                )
            )
            for event in events:
                log.extend(str(event.get("stream", "")).splitlines())
                if "error" in event:
                    raise self._build_failure(tag, str(event["error"]), log)

    def import_image(self, tar: Path, tag: str) -> None:
        repository, _, version = tag.rpartition(":")
        with self._translated():
            answer = self._api.import_image_from_file(str(tar), repository=repository, tag=version)
        if '"error"' in answer:
            raise trouble(DockerException(answer), str(self._endpoint))

    def drop_images(self, labels: Mapping[str, str], keep: str, older_than_s: float) -> None:
        latest = time.time() - older_than_s
        with self._translated():
            images = self._api.images(filters={"label": written_labels(labels)})
            old = [image for image in images if image["Created"] <= latest]
            for tag in {tag for image in old for tag in image["RepoTags"] or ()} - {keep}:
                with contextlib.suppress(APIError):  # a container needs it, or somebody was faster
                    self._api.remove_image(tag)

    def pull_image(self, reference: str) -> bool:
        """False where no registry gives it: then the caller has another way."""
        try:
            for event in self._api.pull(reference, stream=True, decode=True):
                if "error" in event:
                    return self._no_registry(DockerException(event["error"]))
        except (DockerException, requests.exceptions.RequestException) as error:
            return self._no_registry(error)
        return True

    def _no_registry(self, error: Exception) -> bool:
        """Whatever keeps a registry from answering is fine; a full disk would break the other way as well."""
        ours = trouble(error, str(self._endpoint))
        if "disk is full" in ours.problem:
            raise ours from error
        return False

    def _build_failure(self, tag: str, message: str, log: list[str]) -> ImageError | EngineError:
        ours = trouble(BuildError(message, iter(())), str(self._endpoint))
        if "disk is full" in ours.problem:
            return ours
        tail = "\n".join(line for line in log[-BUILD_LOG_TAIL:] if line.strip())
        return ImageError(f"The image {tag} could not be built: {message}", f"The build's last lines:\n{tail}")

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return translated(str(self._endpoint))


def written_labels(labels: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in labels.items()]


def memory_in_use(statistics: Mapping[str, Any]) -> float | None:
    """MiB, as `docker stats` counts: without what the kernel can drop at once (cgroup v1, then v2)."""
    usage = statistics.get("usage")
    if not usage:
        return None
    details = statistics.get("stats") or {}
    droppable = details.get("total_inactive_file", details.get("inactive_file", 0))
    return float(max(0, usage - droppable)) / (1 << 20)
