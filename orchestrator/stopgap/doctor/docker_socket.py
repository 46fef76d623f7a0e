"""Asks a Docker engine at its Unix socket, and never waits longer than told: one that hangs must not hang the doctor.

`stopgap.engines.docker` waits a minute for each answer, because building and starting may take that long.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["DockerSocket"]

LARGEST_ANSWER_BYTES = 8 << 20
JSON_TYPE = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class DockerSocket:
    """
    Attributes:
        path: The socket.
        timeout_s: For each single wait.
    """

    path: str
    timeout_s: float

    def look_up(self, path: str) -> Any:
        """What the engine tells of a thing; None where it knows none of that name.

        Raises:
            OSError: It cannot be reached, does not answer in time, or refuses.
        """
        with self._asked("GET", path) as answer:
            if answer.status == http.client.NOT_FOUND:
                return None
            return json.loads(successful(answer))

    def run(self, container: Mapping[str, Any]) -> str:
        """What a container prints until it ends; the engine removes it then, whatever has become of us.

        Args:
            container: As the engine's API takes it; `Tty` keeps the output from being framed.

        Raises:
            OSError: It could not be started, or did not say a word in time.
        """
        auto_removed = {"AutoRemove": True, **container["HostConfig"]}
        wanted = {**container, "HostConfig": auto_removed, "Tty": True, "AttachStdout": True}
        with self._asked("POST", "/containers/create", wanted) as answer:
            name = json.loads(successful(answer))["Id"]
        try:
            # Attached before it starts: a container that is removed by itself leaves no log to read afterwards.
            with self._asked("POST", f"/containers/{name}/attach?stream=1&stdout=1") as output:
                self._do("POST", f"/containers/{name}/start")
                return output.read(LARGEST_ANSWER_BYTES).decode("utf-8", "replace")
        finally:
            for method, what in (("DELETE", "?force=1"), ("POST", "/wait?condition=removed")):
                with contextlib.suppress(OSError):  # it is gone, or is just going
                    self._do(method, f"/containers/{name}{what}")

    def _do(self, method: str, path: str) -> None:
        with self._asked(method, path) as answer:
            successful(answer)

    @contextlib.contextmanager
    def _asked(self, method: str, path: str, body: Any = None) -> Iterator[http.client.HTTPResponse]:
        connection = UnixConnection(self.path, self.timeout_s)
        with contextlib.closing(connection):
            try:
                connection.request(method, path, None if body is None else json.dumps(body), JSON_TYPE)
                yield connection.getresponse()
            except (http.client.HTTPException, ValueError) as error:
                raise OSError(f"{self.path} does not answer as Docker does: {error}") from error


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("docker", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Called by `request`."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def successful(answer: http.client.HTTPResponse) -> bytes:
    text = answer.read(LARGEST_ANSWER_BYTES)
    if answer.status >= http.client.BAD_REQUEST:
        raise OSError(f"The engine says {answer.status}: {text[:500].decode('utf-8', 'replace').strip()}")
    return text
