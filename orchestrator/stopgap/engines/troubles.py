"""What an engine that speaks Docker's API says when it refuses, as our errors: a table, and nothing of the SDK's."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stopgap.errors import EngineError

__all__ = ["DOCKER", "PODMAN", "Trouble", "trouble"]

DOCKER = "Docker"
PODMAN = "Podman"


@dataclass(frozen=True)
class Trouble:
    """One row of the table by which an engine's errors become ours: the first whose pattern is found in the text holds.

    Attributes:
        problem, remedy: `{name}` is Docker or Podman, `{program}` its command, `{engine}` the engine's address, and
            `{text}` what it or the SDK said.
        of_podman: The remedy where it is another.
    """

    pattern: str
    problem: str
    remedy: str
    of_podman: str = ""


TROUBLES = (
    Trouble(
        r"Permission ?denied.*|EACCES",
        "No permission to use the {name} engine at {engine}.",
        "Join its group (sudo usermod -aG docker $USER, then log in again), or run this as root.",
        of_podman="Run this as root: that socket is root's alone.",
    ),
    Trouble(
        r"FileNotFoundError|ConnectionRefusedError|Connection ?refused|No such file or directory.*sock"
        r"|NameResolutionError|Connection aborted|RemoteDisconnected|Max retries exceeded",
        "No {name} engine answers at {engine}.",
        "Start it (sudo systemctl start docker, or: sudo service docker start; on a desktop open Docker Desktop), "
        "or choose another (docker context use NAME, DOCKER_HOST).",
        of_podman="Start it (sudo systemctl start podman.socket), or choose another (DOCKER_HOST).",
    ),
    Trouble(
        r"[Rr]ead timed out|ReadTimeout|ConnectTimeout",
        "The {name} engine at {engine} did not answer in time.",
        "Look at what keeps it busy ({program} info); restarting it helps when it hangs.",
    ),
    Trouble(
        r"no space left on device|disk quota exceeded|not enough space",
        "The {name} engine's disk is full: {text}",
        "Make room: {program} system df shows what takes it, {program} image prune removes what nobody uses.",
    ),
    Trouble(
        r"port is already allocated|address already in use",
        "The port is taken: {text}",
        "Choose another with --port.",
    ),
    Trouble(
        r"[Cc]onflict.*name .* is already in use|container name .* is already in use",
        "A container of that name exists already: {text}",
        "Choose another --name, or remove the container: {program} rm -f NAME.",
    ),
    Trouble(r"[Nn]o such image", "The image is missing: {text}", "Serve again: it is then built anew."),
    Trouble(
        r"bind source path does not exist|invalid mount config|statfs .*: no such file or directory",
        "The engine cannot mount one of the folders: {text}",
        "{name} must see this machine's files: on a desktop, share the folder in its settings.",
    ),
)
UNKNOWN_TROUBLE = Trouble("", "The {name} engine refused: {text}", "Its own log says more: journalctl -u {program}.")


def trouble(error: Exception, engine: str, name: str = DOCKER) -> EngineError:
    """The EngineError for anything that docker-py or the HTTP library below it raises.

    Args:
        error: What it raised.
        engine: The engine's address.
        name: Docker or Podman.
    """
    explanation = getattr(error, "explanation", None)
    text = " ".join(str(explanation or error).split())[:1000]
    row = next((row for row in TROUBLES if re.search(row.pattern, text)), UNKNOWN_TROUBLE)
    remedy = row.of_podman if name == PODMAN and row.of_podman else row.remedy
    words = {"name": name, "program": name.lower(), "engine": engine, "text": text}
    return EngineError(row.problem.format(**words), remedy.format(**words))
