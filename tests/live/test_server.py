"""Whom the live page's listener answers: who knows the word, by a name of ours, and who only looks."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest
from stopgap.errors import DeploymentError
from stopgap.live import server as module
from stopgap.live.gathering import Snapshot
from stopgap.live.lookout import FILES, live
from stopgap.live.server import HEADERS, Server

from tests.live_at_hand import model, snapshot


@dataclass(frozen=True)
class Shown:
    """A page that is up."""

    server: Server
    address: str

    @property
    def port(self) -> int:
        return self.server.server_port

    @property
    def path(self) -> str:
        return self.server.prefix

    def ask(self, path: str, method: str = "GET", host: str = "", **headers: str) -> http.client.HTTPResponse:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.putrequest(method, path, skip_host=True)
            for name, value in {"Host": host or f"127.0.0.1:{self.port}", **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            answer.content = answer.read()  # type: ignore[attr-defined]
            return answer

    def raw(self, content: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as stream:
            stream.sendall(content)
            return b"".join(iter(lambda: stream.recv(1 << 16), b""))


@contextmanager
def shown() -> Iterator[Shown]:
    server, address = live(lambda: snapshot(model()), 0, 0.5)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Shown(server, address)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=20)


@pytest.fixture(scope="module")
def page() -> Iterator[Shown]:
    with shown() as found:
        yield found


def test_who_has_the_address_gets_the_page_and_all_that_belongs_to_it(page: Shown) -> None:
    assert page.address == f"http://127.0.0.1:{page.port}{page.path}"
    answer = page.ask(page.path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"ranker is served" in answer.content  # type: ignore[attr-defined]
    for name in FILES:
        answer = page.ask(page.path + name)
        assert (answer.status, answer.headers["Content-Type"]) == (200, FILES[name][1])
    answer = page.ask(page.path + "now")
    assert answer.status == 200
    assert b"<html" not in answer.content  # type: ignore[attr-defined]


def test_each_page_has_a_word_of_its_own_that_nobody_guesses(page: Shown) -> None:
    with shown() as other:
        assert other.path != page.path
        assert len(page.path) >= 34
        assert page.ask(other.path).status == 404


@pytest.mark.parametrize("path", ["/", "/now", "/live.js", "/favicon.ico", "//", "{}nothing", "{}../now", "*"])
def test_all_else_is_not_there(path: str, page: Shown) -> None:
    answer = page.ask(path.format(page.path))
    assert answer.status == 404
    assert page.path.strip("/").encode() not in answer.content  # type: ignore[attr-defined]


def test_a_word_that_begins_well_is_no_word(page: Shown) -> None:
    assert page.ask(page.path[:-3] + "xx/").status == 404
    assert page.ask(page.path[:-1]).status == 404


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LocalHost"])
def test_a_name_of_ours_is_answered(name: str, page: Shown) -> None:
    assert page.ask(page.path, host=f"{name}:{page.port}").status == 200


@pytest.mark.parametrize(
    "host", ["rebound.test:{}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{}.rebound.test", "", "x@127.0.0.1:{}"]
)
def test_another_name_is_refused_though_the_word_is_right(host: str, page: Shown) -> None:
    request = f"GET {page.path} HTTP/1.1\r\nHost: {host.format(page.port)}\r\n\r\n".encode()
    assert page.raw(request).startswith(b"HTTP/1.0 421 ")


def test_no_name_or_two_are_refused(page: Shown) -> None:
    assert page.raw(f"GET {page.path} HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.0 421 ")
    twice = f"Host: 127.0.0.1:{page.port}\r\n" * 2
    assert page.raw(f"GET {page.path} HTTP/1.1\r\n{twice}\r\n".encode()).startswith(b"HTTP/1.0 421 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "<b>"])
def test_it_can_be_looked_at_and_nothing_else(method: str, page: Shown) -> None:
    answer = page.ask(page.path, method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert b"<" not in answer.content  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["{}", "{}now", "{}live.js", "{}page.css", "{}icon.svg", "/", "{}nothing"])
def test_every_answer_has_the_headers(path: str, page: Shown) -> None:
    for method in ("GET", "HEAD", "POST"):
        answer = page.ask(path.format(page.path), method)
        assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)
        assert "stopgap" in answer.headers["Server"]
        assert "Python" not in answer.headers["Server"]
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_a_head_is_told_without_a_body(page: Shown) -> None:
    head = page.raw(f"HEAD {page.path}live.js HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
    assert head.endswith(b"\r\n\r\n")
    size = len(page.ask(f"{page.path}live.js").content)  # type: ignore[attr-defined]
    assert f"Content-Length: {size}\r\n".encode() in head


def test_what_is_no_request_is_answered_without_an_echo(page: Shown) -> None:
    for content in (b"<script>\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / x y z\r\n\r\n", b"GET /" + b"a" * 70_000):
        said = page.raw(content + b"\r\n\r\n")
        assert b"400" in said.split(b"\r\n")[0]
        assert b"script>" not in said
        assert b"Content-Security-Policy" in said


def test_who_says_nothing_and_who_never_ends_is_let_go(page: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Handler, "timeout", 0.2)
    assert page.raw(b"GET") == b""
    monkeypatch.setattr(module.Handler, "timeout", 60.0)
    monkeypatch.setattr(module, "LONGEST_S", 0.3)
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as stream:
        deadline = time.monotonic() + 20
        while is_open(stream):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def is_open(stream: socket.socket) -> bool:
    """Whether it takes one more byte."""
    try:
        stream.sendall(b"G")
    except OSError:
        return False
    return True


def test_more_than_there_is_room_for_are_turned_away_and_let_in_again(page: Shown) -> None:
    crowd = [socket.create_connection(("127.0.0.1", page.port), timeout=20) for _ in range(module.MOST_CONNECTIONS)]
    try:
        deadline = time.monotonic() + 20
        while answers(page):
            assert time.monotonic() < deadline
    finally:
        for stream in crowd:
            stream.close()
    deadline = time.monotonic() + 20
    while not answers(page):
        assert time.monotonic() < deadline


def answers(page: Shown) -> bool:
    try:
        return page.ask(page.path).status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_it_is_on_the_loopback_alone(page: Shown) -> None:
    assert page.server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_told_with_what_to_type(page: Shown) -> None:
    with pytest.raises(DeploymentError, match=r"(?s)cannot be listened on.*--port"):
        live(snapshot, page.port, 1.0)


def test_where_nothing_is_seen_any_more_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stopgap.live.lookout.STUCK_S", 0.2)
    hangs = threading.Event()

    def look() -> Snapshot:
        hangs.wait(60)
        return snapshot()

    server, _ = live(look, 0, 0.5)
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert Shown(server, "").ask(server.prefix).status == 503
        hangs.set()
        server.shutdown()
