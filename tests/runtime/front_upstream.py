"""One worker of a model, played for the front: `front_upstream.py FD NAME` serves HTTP/1.1 on the listening socket FD.

It does what the request says, word by word: `sleep:S`, `die` (the process ends with the request in hand),
`die-if:FILE` (the same, if FILE can be removed), `refuse` (INVALID_ARGUMENT), `echo` (what came comes back). Over gRPC
the words are the request's `output_filter`; the answer's `model_spec.signature_name` is the worker's NAME, and the
request's headers are in `outputs["headers"]`. Over REST the words are in the header `do`, and the answer is JSON.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.message import DecodeError
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse


class Worker(http.server.BaseHTTPRequestHandler):
    """Keeps its connections open; each has a thread of its own."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 20  # a small answer leaves in one piece, as the runtime's does: else a death could cut it in two

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer_plainly(200, "", b"")
        else:
            self._rest(b"")

    def do_POST(self) -> None:
        body = self._body()
        if self.headers["content-type"] == "application/grpc":
            self._grpc(body[5:])
        else:
            self._rest(body)

    def do_PUT(self) -> None:
        self._rest(self._body())

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _body(self) -> bytes:
        if "transfer-encoding" not in self.headers:
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _rest(self, body: bytes) -> None:
        words = self._do(self.headers.get("do", "").split())
        if "refuse" in words:
            self._answer_plainly(400, "application/json", b'{"error": "as asked: 100 %"}')
        elif "echo" in words:
            self._answer_plainly(200, "application/json", body)
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = {"worker": sys.argv[2], "method": self.command, "path": self.path, "length": len(body)}
            self._answer_plainly(200, "application/json", json.dumps({**seen, "headers": headers}).encode())

    def _grpc(self, message: bytes) -> None:
        try:
            request = PredictRequest.FromString(message)
        except DecodeError:
            return self._refuse("not a message")
        response = PredictResponse(model_spec=request.model_spec)
        response.model_spec.signature_name = sys.argv[2]
        response.outputs["headers"].string_val.append(json.dumps(dict(self.headers.items())).encode())
        response.outputs["path"].string_val.append(self.path.encode())
        words = self._do(request.output_filter)
        if "refuse" in words:
            return self._refuse("as asked: 100 %")
        if "echo" in words:
            response.outputs["x"].CopyFrom(request.inputs["x"])
        return self._answer(response.SerializeToString())

    def _do(self, words: Iterable[str]) -> set[str]:
        """Sleeps and dies as told, and gives the other words back."""
        others = set()
        for word in words:
            action, _, argument = word.partition(":")
            if action == "sleep":
                time.sleep(float(argument))
            elif action == "die" or (action == "die-if" and removed(Path(argument))):
                os._exit(0)
            else:
                others.add(word)
        return others

    def _answer_plainly(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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
