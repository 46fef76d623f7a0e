"""Docker, and Podman through Docker's API: the only file that imports `docker`. What is said there becomes ours."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import requests
from docker.context import ContextAPI
from docker.errors import APIError, BuildError, DockerException, ImageNotFound, NotFound
from docker.utils import kwargs_from_env
from docker.utils.json_stream import json_stream

from stopgap import images
from stopgap.bundles import Bundle
from stopgap.containment import gvisor
from stopgap.containment.docker import KEPT, Arguments, arguments
from stopgap.containment.podman import in_podmans_words, not_held, profile_of
from stopgap.containment.specs import MIB, ContainerSpec
from stopgap.engines.protocol import EngineLimits, Inspected, Observed, State
from stopgap.engines.troubles import DOCKER, PODMAN, trouble
from stopgap.errors import EngineError, ImageError
from stopgap.fingerprints import Fingerprint, digests_in_tar
from stopgap.isolations import GVISOR
from stopgap.progress import Progress

__all__ = ["DockerEngine", "PodmanEngine", "connect"]

API_TIMEOUT_S = 60
HTTP_OK = 200
CONFLICT = 409
REMOVAL_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.1
BUILD_STEP_TIMEOUT_S = 600  # copying a library of 250 MB into a layer is one step, and says nothing until it is done
BUILD_LOG_TAIL = 20
LONGEST_READING_S = 600
EXPORT_BUFFER_BYTES = 1 << 20
LONGEST_LINE = 64 << 10  # who never ends a line does not fill our memory

# What Podman calls an architecture, as `uname -m` has it.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}

STATES = {
    "created": State.CREATED,
    "running": State.RUNNING,
    "paused": State.RUNNING,
    "restarting": State.RESTARTING,
    "removing": State.EXITED,
    "exited": State.EXITED,
    "dead": State.EXITED,
}


@contextlib.contextmanager
def translated(engine: str, name: str = DOCKER) -> Iterator[None]:
    try:
        yield
    except (DockerException, requests.exceptions.RequestException) as error:
        raise trouble(error, engine, name) from error


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens, and how one is let in."""

    host: str
    tls: Any = False

    @property
    def name(self) -> str:
        """Docker or Podman, as far as that can be told before it has answered."""
        return PODMAN if "podman" in self.host else DOCKER

    @property
    def on_this_machine(self) -> bool:
        return self.host.startswith(("unix://", "http+unix://"))

    def __str__(self) -> str:
        return self.host.replace("http+unix://", "unix://")


def connect(environment: Mapping[str, str] = os.environ) -> DockerEngine:
    """The engine that the `docker` command would use, which may be Podman.

    Raises:
        EngineError: Nothing answers there, it does not let us in, or it is on another machine.
    """
    endpoint = chosen_endpoint(environment)
    if not endpoint.on_this_machine:
        raise EngineError(
            f"The Docker engine at {endpoint} may be on another machine, which cannot mount this one's folders.",
            "Use one with a Unix socket: unset DOCKER_HOST, docker context use default.",
        )
    with translated(str(endpoint), endpoint.name):
        client = docker.APIClient(base_url=endpoint.host, tls=endpoint.tls, version="auto", timeout=API_TIMEOUT_S)
        parts = {part["Name"]: part["Version"] for part in client.version().get("Components") or ()}
    podman = parts.get("Podman Engine")
    return PodmanEngine(client, endpoint, podman) if podman else DockerEngine(client, endpoint)


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
    spoken = DOCKER

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

    def isolated(self, wanted: str) -> str:
        if wanted in ("", self.isolation):
            return self.isolation
        if wanted != GVISOR:
            raise EngineError(f"This {self.spoken} runs sandboxes with {self.isolation}, not with {wanted}.", "")
        with self._translated():
            trouble = gvisor.trouble(self._api.info().get("Runtimes") or {})
        if trouble:
            raise EngineError(f"{trouble} gVisor is not here.", gvisor.REGISTER)
        return GVISOR

    @property
    def limits_by(self) -> str:
        with self._translated():
            version = self._api.info().get("CgroupVersion", "1")
        return f"cgroup v{version}"

    def prepare(self, kind: str, bundle: Bundle | None, say: Callable[[str], None], progress: Progress) -> str:
        return images.ensure(kind, self, bundle, say, progress)

    def start(self, spec: ContainerSpec) -> None:
        wanted = self._arguments(spec)
        with self._translated():
            host = self._api.create_host_config(**wanted.host)
            self._api.create_container(host_config=host, **wanted.create)
        try:
            with self._translated():
                self._check_created(spec.container, wanted)
                self._api.start(spec.container)
        except EngineError:
            self.remove(spec.container)
            raise

    def keep(self, container: str) -> None:
        with self._translated():
            if self._api.inspect_container(container)["HostConfig"]["RestartPolicy"]["Name"] != KEPT["Name"]:
                self._api.update_container(container, restart_policy=KEPT)
            self._api.start(container)  # what ended just before would stay so; one that runs is left alone

    def resume(self, container: str) -> bool:
        with self._translated():
            try:
                self._api.start(container)
            except NotFound:
                return False
        return True

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
            except APIError as error:
                if error.status_code != CONFLICT:
                    raise
                self._wait_until_gone(container, error)
        return True

    def _wait_until_gone(self, container: str, refused: APIError) -> None:
        """The engine is removing it already, for somebody who may have been killed since."""
        deadline = time.monotonic() + REMOVAL_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self._api.inspect_container(container)
            except NotFound:
                return
            time.sleep(LOOK_EVERY_S)
        raise refused

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
            restarts=seen.get("RestartCount") or 0,
        )

    def inspect(self, container: str) -> Inspected:
        with self._translated():
            told = self._api.inspect_container(container)
        return Inspected(told, pid_here(told))

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

    def read(self, image: str, paths: Sequence[str]) -> dict[str, bytes]:
        found = {}
        with self._not_started(image) as container:
            for path in paths:
                with contextlib.suppress(NotFound):
                    pieces, _ = self._api.get_archive(container, path)
                    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
                        (member,) = archive.getmembers()
                        content = archive.extractfile(member) if member.isreg() else None
                        if content is not None:
                            found[path] = content.read()
        return found

    @contextlib.contextmanager
    def _not_started(self, image: str) -> Iterator[str]:
        """A container of that image, only to be read; also the one is taken away that somebody left who was killed."""
        labels = {"stopgap.role": "reading"}
        with self._translated():
            for left in self._api.containers(all=True, filters={"label": written_labels(labels)}):
                if left["Created"] < time.time() - LONGEST_READING_S:
                    self._api.remove_container(left["Id"], v=True, force=True)
            container = self._api.create_container(image, labels=labels)["Id"]
            try:
                yield container
            finally:
                self._api.remove_container(container, v=True)

    def identity(self, image: str) -> str:
        with self._translated():
            try:
                return str(self._api.inspect_image(image)["Id"])
            except ImageNotFound:
                return ""

    def made_of(self, container: str) -> str:
        with self._translated():
            return str(self._api.inspect_container(container)["Image"])

    def fingerprint(self, image: str, progress: Progress) -> Fingerprint:
        with self._translated():
            seen = self._api.inspect_image(image)
        identity = str(seen["Id"])
        tags = [familiar(tag) for tag in seen["RepoTags"] or ()]

        def measured() -> dict[str, str]:
            with self._not_started(identity) as container:
                return self._files(container, identity, image, progress)

        return Fingerprint(
            tags[0] if tags and image == identity else image, identity, images.listed(identity, measured)
        )

    def measure(self, container: str, known: Fingerprint, progress: Progress) -> Fingerprint | None:  # noqa: ARG002
        """All that is in it: what is known of it decides nothing here."""
        with self._translated():
            try:
                seen = self._api.inspect_container(container)
            except NotFound:
                return None
        image, identity = familiar(seen["Config"]["Image"]), seen["Image"]
        return Fingerprint(image, identity, self._files(container, identity, container, progress))

    def _files(self, container: str, identity: str, what: str, progress: Progress) -> dict[str, str]:
        """Of what a container sees but for what is mounted, running or not: an image's, where nothing was changed."""
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            progress(f"reading what is in {what}", min(1.0, done / whole))

        with self._translated():
            whole = self._api.inspect_image(identity)["Size"] or 1
            stream = io.BufferedReader(Pieces(self._api.export(container)), EXPORT_BUFFER_BYTES)
            return digests_in_tar(stream, told)

    def import_image(self, tar: Path, tag: str) -> None:
        with self._translated():
            # The tag as a part of the name: Podman knows no other way, and Docker both.
            answer = self._api.import_image_from_file(str(tar), repository=tag)
        if '"error"' in answer:
            raise self._trouble(DockerException(answer))

    def drop_images(self, labels: Mapping[str, str], keep: str, older_than_s: float) -> None:
        latest = time.time() - older_than_s
        with self._translated():
            images = self._api.images(filters={"label": written_labels(labels)})
            old = [image for image in images if image["Created"] <= latest]
            for tag in {tag for image in old for tag in image["RepoTags"] or ()}:
                if familiar(tag) != keep:
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
        ours = self._trouble(error)
        if "disk is full" in ours.problem:
            raise ours from error
        return False

    def _build_failure(self, tag: str, message: str, log: list[str]) -> ImageError | EngineError:
        ours = self._trouble(BuildError(message, iter(())))
        if "disk is full" in ours.problem:
            return ours
        tail = "\n".join(line for line in log[-BUILD_LOG_TAIL:] if line.strip())
        return ImageError(f"The image {tag} could not be built: {message}", f"The build's last lines:\n{tail}")

    def _arguments(self, spec: ContainerSpec) -> Arguments:
        return arguments(spec)

    def _check_created(self, container: str, wanted: Arguments) -> None:
        """Docker takes what it is told, or refuses it."""

    def _trouble(self, error: Exception) -> EngineError:
        return trouble(error, str(self._endpoint), self.spoken)

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return translated(str(self._endpoint), self.spoken)


class PodmanEngine(DockerEngine):
    """Podman, which speaks Docker's API and does not mean the same by all of it.

    Args:
        version: Its own, such as 4.3.1.

    Raises:
        EngineError: It does not hold what is promised, and is known for that before anything is started.
    """

    name = "podman"
    spoken = PODMAN

    def __init__(self, api: docker.APIClient, endpoint: Endpoint, version: str) -> None:
        super().__init__(api, endpoint)
        self._version = version
        with self._translated():
            answer = self._api.get(f"{self._api.base_url}/v4.0.0/libpod/info", timeout=API_TIMEOUT_S)
        if answer.status_code != HTTP_OK:
            raise EngineError(
                f"The Podman at {endpoint} does not say how it runs: {answer.text[:200]}",
                "Podman 4 or newer is needed; its own log says more: journalctl -u podman.",
            )
        about = answer.json()["host"]
        if about["security"]["rootless"] and about["cgroupVersion"] == "v1":
            raise EngineError(
                f"The Podman at {endpoint} runs without root, and so holds no limit on this machine (cgroup v1).",
                "Use root's (sudo, DOCKER_HOST=unix:///run/podman/podman.sock), or --engine bubblewrap.",
            )
        self.isolation = about["ociRuntime"]["name"]

    def isolated(self, wanted: str) -> str:
        if wanted == GVISOR:
            raise EngineError("stopgap has gVisor on Docker alone, not on Podman.", f"It has {self.isolation} there.")
        return super().isolated(wanted)

    def limits(self) -> EngineLimits:
        limits = super().limits()
        # A container on the host's network is on this machine's own, also where Podman runs without root.
        return replace(limits, machine=MACHINES.get(limits.machine, limits.machine), shares_host_network=True)

    def prepare(self, kind: str, bundle: Bundle | None, say: Callable[[str], None], progress: Progress) -> str:
        if kind != "front" and not self._updates:
            say(
                f"Podman {self._version} does not bring back a sandbox that has ended, nor a front, not after a reboot "
                "either: stopgap resume does."
            )
        return super().prepare(kind, bundle, say, progress)

    def keep(self, container: str) -> None:
        if self._updates:
            super().keep(container)

    def widen(self, container: str, memory_mib: int) -> None:
        with self._translated():
            host = self._api.inspect_container(container)["HostConfig"]
        wanted = memory_mib * MIB
        if host["Memory"] >= wanted:
            return
        if not self._updates:
            raise EngineError(
                f"Podman {self._version} cannot give {container} the memory that the largest messages need.",
                "Choose a smaller --max-message-mib or another --port, or stop the models behind that front first.",
            )
        with self._translated():
            policy = host["RestartPolicy"]  # Podman forgets what is not said again
            self._api.update_container(container, mem_limit=wanted, memswap_limit=wanted, restart_policy=policy)

    def memory_mib(self, container: str) -> float | None:
        observed = self.observe(container)
        return super().memory_mib(container) if observed and observed.state is State.RUNNING else None

    @property
    def _updates(self) -> bool:
        """Whether a container can be changed once it is there: not before Podman 5.1."""
        return tuple(int(part) for part in re.findall(r"[0-9]+", self._version)[:2]) >= (5, 1)

    def _arguments(self, spec: ContainerSpec) -> Arguments:
        wanted = super()._arguments(spec)
        return in_podmans_words(wanted, written_profile(spec.state, profile_of(wanted)))

    def _check_created(self, container: str, wanted: Arguments) -> None:
        missing = not_held(wanted, self._api.inspect_container(container))
        if missing:
            raise EngineError(
                f"The Podman at {self._endpoint} does not hold what {container} is to have: {', '.join(missing)}.",
                "Use root's (sudo, DOCKER_HOST=unix:///run/podman/podman.sock), or --engine bubblewrap.",
            )


class Pieces(io.RawIOBase):
    """What the SDK gives piece by piece, as a file that is read but once."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def written_profile(state: Path, profile: str) -> Path:
    """A file with that in it, in the state folder: one for each kind of container, called by its content's hash."""
    file = state / "podman" / f"seccomp-{hashlib.sha256(profile.encode()).hexdigest()[:12]}.json"
    partial = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.write_text(profile, encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise EngineError(
            f"The state folder {state} cannot be used: {error.strerror}: {file}.",
            "Make room or mend its permissions, or choose another folder with STOPGAP_STATE.",
        ) from error
    return file


def pid_here(told: Mapping[str, Any]) -> int | None:
    """Where the engine counts processes as this machine does: the kernel then says of the pid whose it is."""
    pid = told["State"].get("Pid") or 0
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return pid if told["Id"] in groups else None


def familiar(tag: str) -> str:
    """An image's name as it was given: Podman puts a registry before it."""
    registry, _, name = tag.partition("/")
    return name if registry in ("docker.io", "localhost") else tag


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
