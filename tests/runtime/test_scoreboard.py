"""What the parent reads of a worker's page."""

from __future__ import annotations

import time

from stopgap_runtime.admission import watched
from stopgap_runtime.http11 import Request, Response
from stopgap_runtime.pulse import Pulse
from stopgap_runtime.scoreboard import Scoreboard, Stage


def test_the_worst_of_several_runs_counts() -> None:
    board = Scoreboard(connections=4)
    now = time.monotonic()
    assert board.overdue_s() == 0
    with board.busy_until(now + 100), board.busy_until(now - 5):
        assert 5 <= board.overdue_s() < 6
    assert board.overdue_s() == 0


def test_a_page_full_of_nonsense_is_only_nonsense() -> None:
    board = Scoreboard(connections=2)
    board._memory[:] = b"\xff" * len(board._memory)  # every double a NaN
    assert board.stage is Stage.STARTING
    assert not board.overdue_s() > 0.25


def test_a_request_that_is_stuck_is_seen_whatever_it_is_stuck_in() -> None:
    board = Scoreboard(connections=1)
    seen = []

    def stuck(_request: Request) -> Response:
        with board.busy_until(time.monotonic() + 100):  # a run beside it has time
            seen.append(board.overdue_s())
        return Response(200, {}, ())

    request = Request("GET", "/", {}, b"", keep_alive=True)
    assert watched(stuck, board, limit_s=-5)(request).status == 200
    assert 5 <= seen[0] < 6
    assert not board.busy


def test_silence_counts_while_whoever_looks_is_awake() -> None:
    pulse = Pulse(remembers_s=1)
    pulse.look(1)
    assert (pulse.silent_s, pulse.paused_s) == (0, 0)
    time.sleep(0.2)
    pulse.look(1)
    assert 0.2 <= pulse.silent_s <= 1
    before = pulse.silent_s
    time.sleep(1.5)  # a pause of the whole sandbox, say
    pulse.look(1)
    assert pulse.silent_s == before + 1
    assert 1.5 <= pulse.paused_s < 10
    pulse.look(2)
    assert pulse.silent_s == 0
    time.sleep(1)
    assert pulse.paused_s == 0, "whatever began before it has ended"
