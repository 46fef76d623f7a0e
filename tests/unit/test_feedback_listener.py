"""The listener for feedback, over real connections: what it takes, what it refuses, and whom it does not wait for."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import uuid
from collections.abc import Iterator

import pytest
from stopgap.errors import LedgerError
from stopgap.ledger import listener
from stopgap.ledger.book import Feedback, Taken
from stopgap.ledger.listener import AT_ONCE, HOST, listening

from tests.front_scene import eventually

KNOWN, UNKNOWN = "0b866e72-4c26-4914-ae3d-eb6e68b0fbfa", "4d2c04be-3879-4ff2-9a4f-f86f918a87ee"
TAKE = json.dumps({"id": KNOWN, "reward": 1})


class Notes:
    """In a book's place: one identity is known."""

    def __init__(self) -> None:
        self.taken: list[Feedback] = []
        self.known = {uuid.UUID(KNOWN).bytes}

    def tell(self, feedback: Feedback) -> Taken:
        if feedback.id not in self.known:
            return Taken.UNKNOWN
        self.taken.append(feedback)
        return Taken.NOW if len(self.taken) == 1 else Taken.BEFORE


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def port(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(listener, "KNOWN_WITHIN_S", 0.3)
    monkeypatch.setattr(listener, "LIVES_S", 1.0)
    with listening(0, notes.tell) as found:
        yield found


def asked(
    port: int, body: str | bytes = TAKE, *, method: str = "POST", path: str = "/v1/feedback", **headers: str
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        assert "access-control-allow-origin" not in {name.lower() for name in response.headers}
        return response.status, response.read().decode()
    finally:
        connection.close()


def raw(port: int, content: bytes) -> bytes:
    with socket.create_connection((HOST, port), timeout=20) as connection:
        connection.sendall(content)
        found = b""
        while piece := connection.recv(65536):
            found += piece
        return found


def test_the_first_word_on_an_answer_is_taken_and_a_second_is_not(port: int, notes: Notes) -> None:
    assert asked(port) == (200, '{"status": "ok"}')
    assert asked(port)[0] == 409
    assert notes.taken[0] == Feedback(uuid.UUID(KNOWN).bytes, 1.0, None)


def test_several_words_come_over_one_connection(port: int) -> None:
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    for status in (200, 409, 409):
        connection.request("POST", "/v1/feedback", TAKE)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


def test_an_answer_that_is_not_known_is_told_so_and_one_that_is_just_being_noted_is_waited_for(
    port: int, notes: Notes
) -> None:
    assert asked(port, json.dumps({"id": UNKNOWN, "label": "x"}))[0] == 404
    threading.Timer(0.1, lambda: notes.known.add(uuid.UUID(UNKNOWN).bytes)).start()
    assert asked(port, json.dumps({"id": UNKNOWN, "label": "x"}))[0] == 200


@pytest.mark.parametrize("body", ["", "nonsense", "[]", '{"id": 1}', b"\xff\xfe", json.dumps({"id": KNOWN})])
def test_what_is_no_feedback_is_refused_with_a_reason(port: int, body: str | bytes) -> None:
    status, text = asked(port, body)
    assert status == 400
    assert "Write" in json.loads(text)["error"]


def test_a_body_is_small(port: int, notes: Notes) -> None:
    assert asked(port, b" " * 2049)[0] == 413
    assert b" 413 " in raw(
        port, f"POST /v1/feedback HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Length: {10**30}\r\n\r\n".encode()
    )
    assert notes.taken == []


@pytest.mark.parametrize(
    "headers",
    ["", "Content-Length: 1\r\nContent-Length: 1\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: -1\r\n"],
)
def test_a_body_without_one_length_is_refused(port: int, headers: str) -> None:
    answer = raw(port, f"POST /v1/feedback HTTP/1.1\r\nHost: {HOST}:{port}\r\n{headers}\r\n".encode())
    assert b" 411 " in answer.splitlines()[0]


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:{port}", HOST, "127.0.0.1:1", "0.0.0.0:{port}"])
def test_a_name_that_somebody_has_pointed_here_is_refused(port: int, notes: Notes, host: str) -> None:
    assert asked(port, Host=host.format(port=port))[0] == 403
    assert notes.taken == []


def test_a_page_in_a_browser_can_say_nothing(port: int, notes: Notes) -> None:
    assert asked(port, Origin="http://evil.example")[0] == 403
    assert asked(port, method="OPTIONS", body="", Origin="http://evil.example")[0] == 405
    assert notes.taken == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_nothing_can_be_read(port: int, method: str) -> None:
    assert asked(port, "", method=method)[0] == 405
    assert asked(port, path="/")[0] == 404


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "POST /v1/feedback HTTP/1.1\r\nContent-Le",
        "POST /v1/feedback HTTP/1.1\r\nHost: {host}\r\nContent-Length: 60\r\n\r\n{{",
    ],
)
def test_who_does_not_go_on_is_let_go(port: int, sent: str) -> None:
    assert b" 200 " not in raw(port, sent.format(host=f"{HOST}:{port}").encode())  # and returns at all
    assert asked(port)[0] == 200


def test_more_than_it_can_bear_are_told_to_come_again(port: int) -> None:
    waiting = [socket.create_connection((HOST, port), timeout=20) for _ in range(AT_ONCE)]
    assert b" 429 " in raw(port, b"")
    for connection in waiting:
        connection.close()
    eventually(lambda: asked(port)[0] in (200, 409))


def test_a_port_that_is_taken_is_told(port: int) -> None:
    with pytest.raises(LedgerError, match="cannot be listened on"), listening(port, Notes().tell):
        pass
