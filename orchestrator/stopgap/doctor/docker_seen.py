"""The Docker engine as it is found: whether it answers, and what it tells of itself and of its images."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stopgap import base_image, images
from stopgap.bundles import Bundle
from stopgap.doctor.docker_socket import DockerSocket
from stopgap.doctor.finding import Untold
from stopgap.engines.choice import DOCKER, Engines
from stopgap.engines.docker import Endpoint, chosen_endpoint
from stopgap.engines.protocol import Engine
from stopgap.errors import EngineError

__all__ = ["DockerSeen", "Hanging", "see_docker"]

ANSWER_TIMEOUT_S = 4.0
RESTART = "sudo systemctl restart docker   # a rootless one: systemctl --user restart docker"


class Hanging(EngineError):
    """An engine lets us in and does not answer."""


@dataclass(frozen=True)
class DockerSeen:
    """A Docker engine that answers.

    Attributes:
        address: Its socket, as DOCKER_HOST would have it.
        info: What it tells of itself, by its API's `/info`.
    """

    engine: Engine
    address: str
    socket: DockerSocket
    info: Mapping[str, Any]

    @property
    def security(self) -> frozenset[str]:
        """`rootless`, `selinux`, `seccomp` and the like."""
        options = (str(option).partition(",")[0] for option in self.info.get("SecurityOptions") or ())
        return frozenset(option[len("name=") :] for option in options)

    def image(self, kind: str, bundle: Bundle | None) -> str | None:
        """The tag of the image that a `serve` would use; None where it would have to build it."""
        tags = [images.tag(kind, base, bundle) for base in base_image.CHOICES]
        return next((tag for tag in tags if self.labels(tag) is not None), None)

    def labels(self, tag: str) -> Mapping[str, str] | None:
        """Those of an image; None where there is none of that tag.

        Raises:
            Untold: The engine does not tell.
        """
        try:
            found = self.socket.look_up(f"/images/{tag}/json")
        except OSError as error:
            raise Untold(f"the engine does not tell whether it has {tag}: {error}") from error
        return None if found is None else found["Config"].get("Labels") or {}


def see_docker(engines: Engines) -> DockerSeen:
    """The engine that a `serve` would ask.

    Raises:
        Hanging: It lets us in and does not answer.
        EngineError: It cannot be reached.
    """
    endpoint = chosen_endpoint(os.environ)
    asked = DockerSocket(str(endpoint)[len("unix://") :], ANSWER_TIMEOUT_S)
    check_not_hanging(asked, endpoint)
    engine = engines.choose(DOCKER, joined=None).engine
    try:
        info = asked.look_up("/info")
    except OSError as error:
        raise EngineError(f"The Docker engine at {endpoint} does not tell of itself: {error}.", RESTART) from error
    return DockerSeen(engine, str(endpoint), asked, info or {})


def check_not_hanging(docker: DockerSocket, endpoint: Endpoint) -> None:
    """First of all, since to connect as an engine does is to wait a minute."""
    if not endpoint.on_this_machine:
        return
    try:
        docker.look_up("/version")
    except socket.timeout as error:
        raise Hanging(
            f"The Docker engine at {endpoint} hangs: no answer within {docker.timeout_s:.0f} s.",
            f"{RESTART}\nstopgap serve --engine bubblewrap …   # does without it",
        ) from error
    except OSError:
        return  # connecting fails as well, and says in the engine's words what this means
