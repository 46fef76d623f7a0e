"""A gRPC server of our own on a Unix socket, for whoever is to be told something by Envoy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

__all__ = ["serving_on"]

END_S = 0.5


@contextmanager
def serving_on(path: Path, handler: grpc.GenericRpcHandler, threads: int, largest_bytes: int = -1) -> Iterator[None]:  # type: ignore[type-arg]  # a generic to its stubs alone
    """Within the block the socket is there; Envoy's user may connect to it, whom the folder alone lets in.

    Args:
        threads: How many calls it answers at once.
        largest_bytes: A larger message is refused; -1: none.

    Raises:
        OSError, RuntimeError: It cannot be bound.
    """
    path.unlink(missing_ok=True)
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="receiver"),
        handlers=[handler],
        options=[("grpc.max_receive_message_length", largest_bytes), ("grpc.so_reuseport", 0)],
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
