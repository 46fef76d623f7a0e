"""The Unix socket on which Envoy tells of answers: one stream for each of its threads, which never ends by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc

from stopgap.client.unix_server import serving_on

__all__ = ["receiving"]

# Those of an Envoy that has just ended may be here still.
STREAMS = 16
LARGEST_MESSAGE = 8 << 20


class Receiver(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # a generic to its stubs alone
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_unary_rpc_method_handler(self._told)

    def _told(self, messages: Iterable[bytes], _context: grpc.ServicerContext) -> bytes:
        for message in messages:
            self._take(message)
        return b""


def receiving(path: Path, take: Callable[[bytes], None]) -> AbstractContextManager[None]:
    """Within the block the socket is there.

    Raises:
        OSError, RuntimeError: It cannot be bound.
    """
    return serving_on(path, Receiver(take), STREAMS, LARGEST_MESSAGE)
