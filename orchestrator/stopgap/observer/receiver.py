"""The Unix socket on which Envoy shows requests: each is answered at once, and nothing but its bytes is looked at.

What came with a request, a caller's credentials say, ends here: it is neither kept nor handed on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc

from stopgap.client.unix_server import serving_on

__all__ = ["receiving"]

THREADS = 2


class Receiver(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # a generic to its stubs alone
    def __init__(self, offer: Callable[[bytes], None]) -> None:
        self._offer = offer

    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._shown)

    def _shown(self, content: bytes, _context: grpc.ServicerContext) -> bytes:
        self._offer(content)
        return b""


def receiving(path: Path, offer: Callable[[bytes], None]) -> AbstractContextManager[None]:
    """Within the block the socket is there.

    Raises:
        OSError, RuntimeError: It cannot be bound.
    """
    # What is too large is to be counted, so it has to be taken first; the front's own limit holds.
    return serving_on(path, Receiver(offer), THREADS)
