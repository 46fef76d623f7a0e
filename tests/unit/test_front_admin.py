"""The front's admin page may say what it likes, and as slowly: a command is not held up, and fails with an error."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from stopgap.errors import FrontError
from stopgap.front.admin import Admin, ClusterHealth

PATIENCE_S = 2.0
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def answering(pieces: Iterable[bytes], pause_s: float = 0.0) -> Iterator[Admin]:
    """An admin page that answers each question with these bytes, piece by piece."""
    with tempfile.TemporaryDirectory(prefix="admin-") as name, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{name}/admin.sock")
        listening.listen()

        def answer() -> None:
            with suppress(OSError):
                while True:
                    stream, _ = listening.accept()
                    with stream, suppress(OSError):
                        stream.recv(4096)
                        for piece in pieces:
                            stream.sendall(piece)
                            time.sleep(pause_s)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield Admin(Path(name))
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def page(content: object) -> list[bytes]:
    body = json.dumps(content).encode()
    return [HEAD + b"content-length: %d\r\n\r\n" % len(body) + body]


@pytest.mark.parametrize(
    "beginning",
    [HEAD + b"content-length: 1000\r\n\r\n", b"", HEAD + b"transfer-encoding: chunked\r\n\r\n3e8\r\n"],
    ids=["within its body", "within its first line", "within a chunk"],
)
def test_a_byte_now_and_then_is_no_answer(beginning: bytes) -> None:
    started = time.monotonic()
    with answering([beginning, *[b"x"] * 60], pause_s=0.1) as admin, pytest.raises(FrontError, match="not answer"):
        admin.applied()
    assert time.monotonic() - started < PATIENCE_S + 8  # what is left of the page's own six seconds


def test_what_is_of_another_shape_counts_as_not_there() -> None:
    contents: list[object] = [{}, {"cluster_statuses": 3}, {"cluster_statuses": [3, {"name": 5}]}, [], "x"]
    for content in contents:
        with answering(page(content)) as admin, pytest.raises(FrontError, match="knows no model"):
            admin.cluster_health("m")
    odd = {"cluster_statuses": [{"name": "m", "host_statuses": [1, {"health_status": 2}]}]}
    with answering(page(odd)) as admin:
        assert admin.cluster_health("m") == ClusterHealth(healthy=1, workers=1)
    with (
        answering([HEAD + b"content-length: 9\r\n\r\n[[[[[[[[["]) as admin,
        pytest.raises(FrontError, match="not JSON"),
    ):
        admin.cluster_health("m")
