"""The Unix socket on which Envoy shows requests: each is answered at once, and nothing but its bytes is looked at.

What came with a request, a caller's credentials say, ends here: it is neither kept nor handed on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

__all__ = ["receiving"]

THREADS = 2
END_S = 0.5


class Receiver(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # a generic to its stubs alone
    def __init__(self, offer: Callable[[bytes], None]) -> None:
        self._offer = offer

    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._shown)

    def _shown(self, content: bytes, _context: grpc.ServicerContext) -> bytes:
        self._offer(content)
        return b""


@contextmanager
def receiving(path: Path, offer: Callable[[bytes], None]) -> Iterator[None]:
    """Within the block the socket is there; Envoy's user may connect to it, whom the folder alone lets in.

    Raises:
        OSError, RuntimeError: It cannot be bound.
    """
    path.unlink(missing_ok=True)
    server = grpc.server(
        ThreadPoolExecutor(THREADS, thread_name_prefix="receiver"),
        handlers=[Receiver(offer)],
        # What is too large is to be counted, so it has to be taken first; the front's own limit holds.
        options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
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
