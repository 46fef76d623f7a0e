"""The Unix socket on which Envoy shows requests: each is answered at once, and only its bytes and its id are looked at.

What else came with a request, a caller's credentials say, ends here: it is neither kept nor handed on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

__all__ = ["receiving"]

THREADS = 2
END_S = 0.5
REQUEST_ID = "x-request-id"
# A caller may have chosen it: what a log or a page could take for something else is none.
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")

Offer = Callable[[bytes, str], None]


class Receiver(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # a generic to its stubs alone
    def __init__(self, offer: Offer) -> None:
        self._offer = offer

    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._shown)

    def _shown(self, content: bytes, context: grpc.ServicerContext) -> bytes:
        self._offer(content, id_in(context.invocation_metadata()))
        return b""


def id_in(metadata: Sequence[tuple[str, str | bytes]]) -> str:
    """The request's own; empty where it has none that can be one."""
    found = [value for key, value in metadata if key == REQUEST_ID]
    return found[0] if found and isinstance(found[0], str) and ID.fullmatch(found[0]) else ""


@contextmanager
def receiving(path: Path, offer: Offer) -> Iterator[None]:
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
