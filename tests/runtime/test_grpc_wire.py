"""gRPC's frames, deadlines and statuses in HTTP/1.1."""

from __future__ import annotations

import pytest
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.grpc_wire import failure, message_of, success, timeout_s_of
from stopgap_runtime.http11 import Request


def request(body: bytes = b"", **headers: str) -> Request:
    return Request(
        "POST", "/", {name.replace("_", "-"): value for name, value in headers.items()}, body, keep_alive=True
    )


def test_a_frame_gives_its_message() -> None:
    assert bytes(message_of(request(b"\0\0\0\0\3abc"))) == b"abc"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", Code.INTERNAL),
        (b"\0\0\0\0\4abc", Code.INTERNAL),
        (b"\0\0\0\0\3abcd", Code.INTERNAL),
        (b"\1\0\0\0\3abc", Code.UNIMPLEMENTED),
    ],
    ids=["nothing", "too short", "too long", "compressed"],
)
def test_a_broken_frame_is_a_fault(body: bytes, code: Code) -> None:
    with pytest.raises(Fault) as fault:
        message_of(request(body))
    assert fault.value.code == code


@pytest.mark.parametrize(
    ("text", "seconds"), [("2H", 7200), ("3M", 180), ("1S", 1), ("250m", 0.25), ("100u", 1e-4), ("5n", 5e-9)]
)
def test_every_unit_of_a_deadline_is_understood(text: str, seconds: float) -> None:
    assert timeout_s_of(request(grpc_timeout=text)) == pytest.approx(seconds)


def test_no_deadline_is_none() -> None:
    assert timeout_s_of(request()) is None


@pytest.mark.parametrize("text", ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "²S"])
def test_a_malformed_deadline_is_a_fault(text: str) -> None:
    with pytest.raises(Fault):
        timeout_s_of(request(grpc_timeout=text))


def test_an_error_is_headers_alone_with_its_text_percent_encoded_and_cut() -> None:
    response = failure(Fault(Code.NOT_FOUND, "é 100%\n" + "x" * 2000))
    assert response.body == ()
    assert response.trailers is None
    assert response.headers["grpc-status"] == "5"
    assert response.headers["grpc-message"].startswith("%C3%A9 100%25%0Axxx")
    assert response.headers["grpc-message"].endswith("...TRUNCATED")


def test_an_answer_is_one_frame_and_a_status() -> None:
    response = success((b"ab", b"c"))
    assert b"".join(response.body) == b"\0\0\0\0\3abc"
    assert response.trailers == {"grpc-status": "0"}
