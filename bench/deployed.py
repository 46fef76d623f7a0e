"""A benchmark's model as `stopgap serve` deploys it: its worker's socket, its addresses, its memory, its start."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from h2load import Exchange, over_grpc, over_rest, over_socket
from stopgap import deployment
from stopgap.client.channel import ServingChannel
from stopgap.containment.specs import sandbox_container
from stopgap.engines.choice import Engines
from stopgap.engines.docker import DockerEngine, connect
from stopgap.engines.protocol import EngineLimits
from stopgap.ports import free_ports
from stopgap.progress import silent
from stopgap.settings import Address, Limits, ServeSettings
from stopgap.store import Store
from stopgap_protos.serving_pb2 import PredictRequest
from zoo_request import example_inputs, predict_request


class Published(DockerEngine):
    """As on Docker Desktop: the front's port is published by Docker instead of bound by Envoy itself."""

    def limits(self) -> EngineLimits:
        """Those of the engine, but for its network."""
        return replace(super().limits(), shares_host_network=False)


class Deployed:
    """A deployment with a state folder and ports of its own, gone at the end.

    Args:
        name: What it is called; the request names it.
        published: Whether Docker publishes the front's port; else the front is on the host's network.

    Attributes:
        model: Its folder, in the zoo's form.
        serve_s: How long `serve` took until the model answered, with images and bundle there.
    """

    def __init__(self, model: Path, name: str = "bench", *, workers: int = 1, published: bool = False) -> None:
        self.name = name
        self.inputs = example_inputs(model)
        self.request = predict_request(name, self.inputs)
        self.serve_s = float("nan")
        docker = connect()
        self._engine = Published(docker._api, docker._endpoint) if published else docker  # noqa: SLF001 - the same one
        self.model = model
        self._workers = workers
        self._state = tempfile.TemporaryDirectory()
        self.store = Store(Path(self._state.name))
        self._address = Address("127.0.0.1", *free_ports(2))

    def __enter__(self) -> Deployed:
        limits = Limits(workers=self._workers)
        wanted = ServeSettings(self.name, self.model, address=self._address, limits=limits)
        began = time.monotonic()
        deployment.serve(wanted, self._engine, self.store, print, silent)
        self.serve_s = time.monotonic() - began
        with ServingChannel(self.address) as channel:
            channel.predict(PredictRequest.FromString(self.request), timeout_s=30)  # h2load would not see an error
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        deployment.stop(self.name, Engines(self.store.folder), self.store, print)
        self._state.cleanup()

    @property
    def address(self) -> str:
        """Where the front listens for gRPC."""
        return self._address.grpc

    @property
    def rest(self) -> str:
        """Where it listens for REST, without a scheme."""
        return self._address.rest.removeprefix("http://")

    @property
    def socket(self) -> Path:
        """The first worker's own socket."""
        return self.store.front_folder(self._address.grpc_port) / "sandboxes" / self.name / "worker-0.sock"

    @property
    def over_grpc(self) -> Exchange:
        """The request through the front."""
        return over_grpc(self.address, self.request)

    @property
    def to_nobody(self) -> Exchange:
        """The same for a model that is not there: the front answers by itself."""
        return over_grpc(self.address, self.request.replace(self.name.encode(), b"x" * len(self.name)))

    @property
    def over_rest(self) -> Exchange:
        """The same as JSON through the front."""
        return over_rest(self._address.rest, self.name, self.inputs)

    @property
    def over_socket(self) -> Exchange:
        """The same at the worker's socket."""
        return over_socket(self.socket, self.request)

    def memory_mib(self) -> float:
        """What the sandbox uses, as `stopgap status` and `docker stats` have it."""
        return self._engine.memory_mib(sandbox_container(self.name)) or float("nan")
