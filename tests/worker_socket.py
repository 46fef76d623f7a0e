"""What the front does with a worker's socket, for tests that need no front: one call, one connection."""

from __future__ import annotations

import os
import re
import socket
import struct
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse
from stopgap_protos.tensor_pb2 import DataType

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True)
class Answer:
    """A call's outcome: gRPC's code and text, and the message when there is one."""

    code: int
    text: str
    message: bytes


class Socket:
    """One worker's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def healthy(self, timeout_s: float = 1.0) -> bool:
        """Whether the health check is answered, and well, within `timeout_s`."""
        try:
            return self._exchange(
                b"GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n", timeout_s
            ).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False

    def call(
        self, method: str, message: bytes, *, timeout_s: float = 30.0, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One unary call.

        Raises:
            ConnectionResetError: The worker left before it had answered.
        """
        frame = struct.pack(">BI", 0, len(message)) + message
        lines = [f"POST {method} HTTP/1.1", "host: t", "connection: close", "content-type: application/grpc"]
        lines += [f"content-length: {len(frame)}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        reply = self._exchange("\r\n".join(lines).encode() + b"\r\n\r\n" + frame, timeout_s)
        status = re.search(rb"\r\ngrpc-status: (\d+)\r\n", reply)
        if not status:
            raise ConnectionResetError(f"no whole answer: {reply[:100]!r}")
        text = re.search(rb"\r\ngrpc-message: (.*)\r\n", reply)
        chunk = re.search(rb"\r\n\r\n([0-9a-f]+)\r\n", reply)
        size = int(chunk[1], 16) if chunk else 0
        body = reply[chunk.end() : chunk.end() + size] if chunk else b""
        return Answer(int(status[1]), urllib.parse.unquote(text[1].decode()) if text else "", body[5:])

    def predict(self, request: PredictRequest, *, timeout_s: float = 30.0, grpc_timeout: str = "") -> Answer:
        """One prediction."""
        headers = {"grpc-timeout": grpc_timeout} if grpc_timeout else {}
        return self.call(PREDICT, request.SerializeToString(), timeout_s=timeout_s, headers=headers)

    def count_to(self, limit: int, *, timeout_s: float = 30.0, grpc_timeout: str = "") -> int | Answer:
        """Asks a `counting_loop`; the count, or the answer where it was an error."""
        answer = self.predict(count_request(limit), timeout_s=timeout_s, grpc_timeout=grpc_timeout)
        if answer.code:
            return answer
        return PredictResponse.FromString(answer.message).outputs["count"].int64_val[0]

    def _exchange(self, sent: bytes, timeout_s: float) -> bytes:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(timeout_s)
            folder = os.open(self.path.parent, os.O_PATH)
            try:
                stream.connect(f"/proc/self/fd/{folder}/{self.path.name}")
            finally:
                os.close(folder)
            stream.sendall(sent)
            received = bytearray()
            while data := stream.recv(1 << 16):
                received += data
            return bytes(received)


def count_request(limit: int, model: str = "loop") -> PredictRequest:
    """A request to a `counting_loop`."""
    request = PredictRequest()
    request.model_spec.name = model
    tensor = request.inputs["limit"]
    tensor.dtype = DataType.DT_INT64
    tensor.tensor_shape.SetInParent()
    tensor.int64_val.append(limit)
    return request
