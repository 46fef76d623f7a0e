"""The parent's own socket: an honest reader gets all of an answer, and no reader holds the parent up."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stopgap.incidents import exchanged, state_in
from stopgap_runtime import control
from stopgap_runtime.control import Control
from stopgap_runtime.incidents import Incidents, Kind
from stopgap_runtime.listener import Listener

TICK_S = 0.05
LONGEST_LINE = "\U0001f4a5" * 200


def state(times: int = 1) -> dict[str, Any]:
    """The longest that there is: fifty incidents, each with five lines of characters that take four bytes.

    Args:
        times: How often they are told; what fits into a socket's buffer is the system's affair.
    """
    incidents = Incidents()
    for _ in range(60):
        incidents.record(Kind.DIED, "0", "SIGSEGV", lines=[LONGEST_LINE] * 5)
    counts = {kind.name.lower(): count for kind, count in incidents.counts.items()}
    return {
        "workers": 1,
        "backing_off_s": 0.0,
        "quarantined": 0,
        "counts": counts,
        "incidents": incidents.written() * times,
    }


ANSWERS = {b"s": state, b"l": lambda: state(4), b"r": lambda: {"released": 0}}


class Attended:
    """A `Control` in a loop like the parent's, which notes how long it was kept from the rest of its work."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.longest_s = 0.0
        self._control = Control(Listener.bound(path), answers=ANSWERS, takers={})
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._attend)

    def __enter__(self) -> Attended:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._control.close()

    @property
    def waited_for(self) -> int:
        return len(self._control.descriptors)

    def _attend(self) -> None:
        while not self._ended.wait(TICK_S):
            started = time.thread_time()
            self._control.attend()
            self.longest_s = max(self.longest_s, time.thread_time() - started)

    def ask(self, letters: bytes) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(10)
        stream.connect(str(self.path))
        stream.sendall(letters)
        return stream


@pytest.fixture
def attended(tmp_path: Path) -> Iterator[Attended]:
    with Attended(tmp_path / "control.sock") as served:
        yield served


def all_of(stream: socket.socket, *, at_once: int = 1 << 20, pause_s: float = 0.0) -> bytes:
    told = bytearray()
    while piece := stream.recv(at_once):
        told += piece
        time.sleep(pause_s)
    return bytes(told)


def test_fifty_long_incidents_arrive_as_the_orchestrator_asks_for_them(attended: Attended) -> None:
    answer = exchanged(attended.path, b"s")
    incidents = state_in(answer, "stn").incidents
    assert len(incidents) == 50
    assert incidents[-1].lines == (LONGEST_LINE,) * 5


def test_a_slow_reader_gets_all_of_it(attended: Attended) -> None:
    with attended.ask(b"l") as stream:
        time.sleep(10 * TICK_S)
        assert len(json.loads(all_of(stream, at_once=8192, pause_s=0.01))["incidents"]) == 200


def test_who_reads_nothing_holds_nobody_up_and_is_let_go(attended: Attended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_ANSWER_PATIENCE_S", 0.5)
    with attended.ask(b"l") as silent:
        time.sleep(2 * TICK_S)
        assert json.loads(exchanged(attended.path, b"r")) == {"released": 0}
        assert len(state_in(exchanged(attended.path, b"s"), "stn").incidents) == 50
        time.sleep(0.6)
        assert 0 < len(all_of(silent)) < len(json.dumps(state(4), ensure_ascii=False).encode())
    assert attended.longest_s < 0.2


def test_who_hangs_up_amid_an_answer_is_forgotten(attended: Attended) -> None:
    for _ in range(20):
        attended.ask(b"l").close()
    assert json.loads(exchanged(attended.path, b"r")) == {"released": 0}
    assert attended.waited_for == 1


def test_who_has_yet_to_take_an_answer_makes_no_loop_without_rest(attended: Attended) -> None:
    """A connection on which more was said than is read would always be readable."""
    with attended.ask(b"lsss"):
        time.sleep(3 * TICK_S)
        assert attended.waited_for == 1
