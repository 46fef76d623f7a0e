"""The benchmark's model behind `stopgap serve`, as users have it: its socket, its address, its memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from stopgap.client.channel import ServingChannel
from stopgap.client.tensors import to_proto
from stopgap_protos.serving_pb2 import PredictRequest
from zoo_request import example_inputs

NAME = "stopgap-bench"
STOPGAP = Path(sys.executable).with_name("stopgap")


class Deployed:
    """A deployment with a state folder and a port of its own, gone at the end."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._state = tempfile.TemporaryDirectory()
        self._port = _free_port()
        self.request = _request(model)

    def __enter__(self) -> Deployed:
        self._stopgap("serve", str(self._model), "--name", NAME, "--port", str(self._port))
        with ServingChannel(self.address) as channel:
            channel.predict(PredictRequest.FromString(self.request), timeout_s=30)  # h2load would not see an error
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._stopgap("stop", NAME)
        self._state.cleanup()

    @property
    def address(self) -> str:
        """Where the front listens."""
        return f"127.0.0.1:{self._port}"

    @property
    def socket(self) -> Path:
        """The worker's own socket."""
        return Path(self._state.name) / "fronts" / str(self._port) / "sandboxes" / NAME / "worker-0.sock"

    def memory_mib(self) -> float:
        """What `stopgap status` says that the sandbox uses, in MiB."""
        seen: dict[str, float] = json.loads(self._stopgap("status", NAME, "--json"))
        return seen["memory_mib"]

    def _stopgap(self, *arguments: str) -> str:
        environment = {**os.environ, "STOPGAP_STATE": self._state.name}
        return subprocess.run(
            [STOPGAP, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout


def _request(model: Path) -> bytes:
    request = PredictRequest()
    request.model_spec.name = NAME
    for alias, array in example_inputs(model).items():
        request.inputs[alias].CopyFrom(to_proto(array))
    return request.SerializeToString()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
