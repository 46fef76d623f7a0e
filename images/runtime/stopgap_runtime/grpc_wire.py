"""gRPC's framing, deadlines and statuses, as they travel in HTTP/1.1 messages with trailers.

Facts from gRPC's own wire document (PROTOCOL-HTTP2.md): five bytes before a message (a flag and a big-endian length),
`grpc-timeout` as digits and a unit, `grpc-message` percent-encoded. Envoy turns HTTP/2 into this and back.
"""

from __future__ import annotations

import struct
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Final

from .faults import Code, Fault
from .http11 import Request, Response

__all__ = ["FRAME_HEADER_BYTES", "failure", "message_of", "success", "timeout_s_of"]

FRAME_HEADER_BYTES: Final = 5
_FRAME: Final = struct.Struct(">BI")
_HEADERS: Final = {"content-type": "application/grpc", "trailer": "grpc-status"}
_OK: Final = {"grpc-status": "0"}
_UNITS_S: Final[Mapping[str, float]] = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT_DIGITS: Final = 8
_TEXT_LIMIT: Final = 1024  # where TF Serving cuts (model_servers/grpc_status_util.cc)


def message_of(request: Request) -> memoryview:
    """The one message that a unary call's body carries.

    Raises:
        Fault: The framing is broken (INTERNAL, as gRPC has it), or the message is compressed (UNIMPLEMENTED).
    """
    body = memoryview(request.body)
    if len(body) < FRAME_HEADER_BYTES:
        raise Fault(Code.INTERNAL, f"a unary call needs one gRPC message, got {len(body)} bytes")
    compressed, length = _FRAME.unpack_from(body)
    if compressed:
        raise Fault(Code.UNIMPLEMENTED, "compressed gRPC messages are not supported: send them uncompressed")
    if length != len(body) - FRAME_HEADER_BYTES:
        raise Fault(Code.INTERNAL, f"the gRPC frame announces {length} bytes, {len(body) - FRAME_HEADER_BYTES} follow")
    return body[FRAME_HEADER_BYTES:]


def timeout_s_of(request: Request) -> float | None:
    """How long the caller still waits, in seconds; None when it did not say.

    Raises:
        Fault: The header is not of gRPC's form (INTERNAL).
    """
    text = request.headers.get("grpc-timeout")
    if text is None:
        return None
    digits, unit = text[:-1], text[-1:]
    if unit not in _UNITS_S or not (digits.isascii() and digits.isdigit() and len(digits) <= _TIMEOUT_DIGITS):
        raise Fault(Code.INTERNAL, "malformed grpc-timeout header")
    return int(digits) * _UNITS_S[unit]


def success(message: Sequence[bytes | memoryview]) -> Response:
    """An answer whose serialised message is the concatenation of `message`."""
    frame = _FRAME.pack(0, sum(map(len, message)))
    return Response(200, _HEADERS, (frame, *message), trailers=_OK)


def failure(fault: Fault) -> Response:
    """An error: headers alone ("trailers-only"), with TF Serving's cut of long texts."""
    text = fault.text if len(fault.text) <= _TEXT_LIMIT else fault.text[:_TEXT_LIMIT] + "...TRUNCATED"
    return Response(
        200,
        {
            "content-type": "application/grpc",
            "grpc-status": str(int(fault.code)),
            "grpc-message": urllib.parse.quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
        },
    )
