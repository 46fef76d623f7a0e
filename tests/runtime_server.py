"""A model of the zoo behind gRPC, in the tests' own process: the runtime's own answers, with no engine and no front."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import grpc
from stopgap_runtime.capi import TensorFlow
from stopgap_runtime.faults import Fault
from stopgap_runtime.grpc_api import GrpcApi
from stopgap_runtime.predict import DataPlane
from stopgap_runtime.servable import Servable

__all__ = ["model_server"]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


@contextmanager
def model_server(tensorflow: TensorFlow, folder: Path, name: str, *, port: int = 0) -> Iterator[str]:
    """The address at which the model in `folder` answers as `name`."""
    servable = Servable.load(tensorflow, folder, tags={"serve"}, threads=1, load_timeout_s=60)
    plane = DataPlane(
        name, 1, servable, run_timeout_s=20, largest_bytes=64 * 2**20, overdue_after=lambda _: nullcontext()
    )
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((_Calls(GrpcApi(plane)),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        server.stop(None).wait()
        servable.close()


class _Calls(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # a generic to its stubs alone
    def __init__(self, api: GrpcApi) -> None:
        self._api = api

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        def answer(message: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                return b"".join(self._api.call(details.method, memoryview(message), context.time_remaining()))
            except Fault as fault:
                context.abort(_CODES[int(fault.code)], str(fault))
                raise

        return grpc.unary_unary_rpc_method_handler(answer)
