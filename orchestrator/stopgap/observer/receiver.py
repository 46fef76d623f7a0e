"""The Unix socket on which Envoy shows requests: each is answered at once, and only its bytes and its id are looked at.

What else came with a request, a caller's credentials say, ends here: it is neither kept nor handed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc

from stopgap.client.unix_server import serving_on

__all__ = ["receiving"]

THREADS = 2
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


def receiving(path: Path, offer: Offer) -> AbstractContextManager[None]:
    """Within the block the socket is there.

    What is too large is to be counted, so it has to be taken first; the front's own limit holds.

    Raises:
        OSError, RuntimeError: It cannot be bound.
    """
    return serving_on(path, Receiver(offer), THREADS)
