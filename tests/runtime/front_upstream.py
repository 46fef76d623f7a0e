"""One worker of a model, played for the front: `front_upstream.py FD NAME` serves HTTP/1.1 on the listening socket FD.

It does what the request's `output_filter` says, word by word: `sleep:S`, `die` (the process ends with the request in
hand), `die-if:FILE` (the same, if FILE can be removed), `refuse` (INVALID_ARGUMENT), `echo` (the inputs come back).
The answer's `model_spec.signature_name` is the worker's NAME; the request's headers are in `outputs["headers"]`.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

from google.protobuf.message import DecodeError
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse


class Worker(http.server.BaseHTTPRequestHandler):
    """Keeps its connections open; each has a thread of its own."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 20  # a small answer leaves in one piece, as the runtime's does: else a death could cut it in two

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        try:
            request = PredictRequest.FromString(self._body()[5:])
        except DecodeError:
            return self._refuse("not a message")
        response = PredictResponse(model_spec=request.model_spec)
        response.model_spec.signature_name = sys.argv[2]
        response.outputs["headers"].string_val.append(json.dumps(dict(self.headers.items())).encode())
        response.outputs["path"].string_val.append(self.path.encode())
        for word in request.output_filter:
            action, _, argument = word.partition(":")
            if action == "sleep":
                time.sleep(float(argument))
            elif action == "die" or (action == "die-if" and removed(Path(argument))):
                os._exit(0)
            elif action == "refuse":
                return self._refuse("as asked: 100 %")
            elif action == "echo":
                response.outputs["x"].CopyFrom(request.inputs["x"])
        return self._answer(response.SerializeToString())

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _body(self) -> bytes:
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, message: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/grpc")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("trailer", "grpc-status")
        self.end_headers()
        frame = b"\0" + struct.pack(">I", len(message)) + message
        self.wfile.write(b"%x\r\n" % len(frame))
        self.wfile.write(frame)
        self.wfile.write(b"\r\n0\r\ngrpc-status: 0\r\n\r\n")

    def _refuse(self, text: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/grpc")
        self.send_header("grpc-status", "3")
        self.send_header("grpc-message", text.replace("%", "%25"))
        self.send_header("content-length", "0")
        self.end_headers()


class Sockets(http.server.ThreadingHTTPServer):
    """Takes over a listening Unix socket, whose peers have no address."""

    daemon_threads = True

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(("", 0), Worker, bind_and_activate=False)
        self.socket.close()
        self.socket = listening

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, _ = self.socket.accept()
        return connection, ("envoy", 0)


def removed(file: Path) -> bool:
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


if __name__ == "__main__":
    Sockets(socket.socket(fileno=int(sys.argv[1]))).serve_forever()
