"""The benchmark's model as `stopgap serve` deploys it: its worker's socket, its address, its memory."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import TracebackType

from stopgap import deployment
from stopgap.client.channel import ServingChannel
from stopgap.client.tensors import to_proto
from stopgap.containment import sandbox_container
from stopgap.engines.docker import DockerEngine, connect
from stopgap.engines.protocol import EngineLimits
from stopgap.progress import silent
from stopgap.settings import Address, ServeSettings
from stopgap.store import Store
from stopgap_protos.serving_pb2 import PredictRequest
from zoo_request import example_inputs


class Published(DockerEngine):
    """As on Docker Desktop: the front's port is published by Docker instead of bound by Envoy itself."""

    def limits(self) -> EngineLimits:
        """Those of the engine, but for its network."""
        return replace(super().limits(), shares_host_network=False)


class Deployed:
    """A deployment with a state folder and a port of its own, gone at the end.

    Args:
        published: Whether Docker publishes the front's port; else the front is on the host's network.
    """

    def __init__(self, model: Path, *, published: bool = False) -> None:
        self.name = "bench-published" if published else "bench"
        self.request = _request(self.name, model)
        docker = connect()
        self._engine = Published(docker._api, docker._endpoint) if published else docker  # noqa: SLF001 - the same one
        self._model = model
        self._state = tempfile.TemporaryDirectory()
        self._store = Store(Path(self._state.name))
        self._port = _free_port()

    def __enter__(self) -> Deployed:
        tomorrow = date.today() + timedelta(days=1)
        wanted = ServeSettings(self.name, self._model, tomorrow, address=Address("127.0.0.1", self._port))
        deployment.serve(wanted, self._engine, self._store, print, silent)
        with ServingChannel(self.address) as channel:
            channel.predict(PredictRequest.FromString(self.request), timeout_s=30)  # h2load would not see an error
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        deployment.stop(self.name, self._engine, self._store, print)
        self._state.cleanup()

    @property
    def address(self) -> str:
        """Where the front listens."""
        return f"127.0.0.1:{self._port}"

    @property
    def socket(self) -> Path:
        """The worker's own socket."""
        return self._store.front_folder(self._port) / "sandboxes" / self.name / "worker-0.sock"

    def memory_mib(self) -> float:
        """What the sandbox uses, as `stopgap status` and `docker stats` have it."""
        return self._engine.memory_mib(sandbox_container(self.name)) or float("nan")


def _request(name: str, model: Path) -> bytes:
    request = PredictRequest()
    request.model_spec.name = name
    for alias, array in example_inputs(model).items():
        request.inputs[alias].CopyFrom(to_proto(array))
    return request.SerializeToString()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
