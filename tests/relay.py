"""A candidate played by a gRPC server: it asks a real model behind a front, and changes the answer as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from stopgap.client.tensors import to_arrays, to_proto
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse

__all__ = ["Relay", "relayed"]

SERVICES = "/tensorflow.serving."


@dataclass
class Relay(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # a generic to its stubs alone
    """Hands all calls on to the model `twin` at an address.

    Attributes:
        changed: What becomes of the outputs.
        slower_s: How much later it answers.
        metadata: All that has come with any request.
        predictions: How many were asked.
        stop: Ends it: nobody listens any more.
    """

    channel: Any
    twin: str
    address: str = ""
    changed: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = lambda outputs: outputs
    slower_s: float = 0.0
    metadata: set[tuple[str, str]] = field(default_factory=set)
    predictions: int = 0
    stop: Callable[[], object] = lambda: None
    ended: threading.Event = field(default_factory=threading.Event)  # keeps nobody who is slow

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        self.metadata.update((key, str(value)) for key, value in details.invocation_metadata)

        def answer(message: bytes, context: grpc.ServicerContext) -> bytes:
            ask = self.channel.unary_unary(details.method)
            try:
                if not details.method.endswith("/Predict"):
                    return bytes(ask(message.replace(b"relay", self.twin.encode()), timeout=20))
                self.predictions += 1
                self.ended.wait(self.slower_s)
                request = PredictRequest.FromString(message)
                request.model_spec.name = self.twin
                response = PredictResponse.FromString(ask(request.SerializeToString(), timeout=20))
            except grpc.RpcError as error:
                failed: Any = error
                context.abort(failed.code(), failed.details())
                raise
            outputs = self.changed(to_arrays(response.outputs))
            told = PredictResponse(model_spec=response.model_spec)
            for name, array in outputs.items():
                told.outputs[name].CopyFrom(to_proto(array))
            return told.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def relayed(address: str, twin: str) -> Iterator[Relay]:
    """Answers as `relay`; the twin's name must have five letters too, since it is put in its place."""
    assert len(twin) == len("relay")
    with grpc.insecure_channel(address) as channel:
        relay = Relay(channel, twin)
        server = grpc.server(ThreadPoolExecutor(4), handlers=[relay])
        relay.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}/relay"
        server.start()

        def stop() -> None:
            relay.ended.set()
            server.stop(None).wait()

        relay.stop = stop
        try:
            yield relay
        finally:
            stop()
