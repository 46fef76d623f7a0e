"""The Unix socket on which Envoy tells of answers: one stream for each of its threads, which never ends by itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

__all__ = ["receiving"]

# Those of an Envoy that has just ended may be here still.
STREAMS = 16
LARGEST_MESSAGE = 8 << 20
END_S = 0.5


class Receiver(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # a generic to its stubs alone
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_unary_rpc_method_handler(self._told)

    def _told(self, messages: Iterable[bytes], _context: grpc.ServicerContext) -> bytes:
        for message in messages:
            self._take(message)
        return b""


@contextmanager
def receiving(path: Path, take: Callable[[bytes], None]) -> Iterator[None]:
    """Within the block the socket is there; Envoy's user may connect to it, whom the folder alone lets in.

    Raises:
        OSError, RuntimeError: It cannot be bound.
    """
    path.unlink(missing_ok=True)
    server = grpc.server(
        ThreadPoolExecutor(STREAMS, thread_name_prefix="receiver"),
        handlers=[Receiver(take)],
        options=[("grpc.max_receive_message_length", LARGEST_MESSAGE), ("grpc.so_reuseport", 0)],
    )
    # A socket's path has 107 bytes at most, and the state folder's may have more.
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        server.add_insecure_port(f"unix:/proc/self/fd/{folder}/{path.name}")
        path.chmod(0o666)
        server.start()
        yield
    finally:
        server.stop(END_S).wait()
        path.unlink(missing_ok=True)
        os.close(folder)
