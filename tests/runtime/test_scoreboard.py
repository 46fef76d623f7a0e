"""What the parent reads of a worker's page."""

from __future__ import annotations

import time

from stopgap_runtime.scoreboard import Scoreboard, Stage


def test_the_worst_of_several_runs_counts() -> None:
    board = Scoreboard(slots=4)
    now = time.monotonic()
    assert board.overdue_s() == 0
    with board.run_until(now + 100), board.run_until(now - 5):
        assert 5 <= board.overdue_s() < 6
    assert board.overdue_s() == 0


def test_a_page_full_of_nonsense_is_only_nonsense() -> None:
    board = Scoreboard(slots=2)
    board._memory[:] = b"\xff" * len(board._memory)  # every double a NaN
    assert board.stage is Stage.STARTING
    assert not board.overdue_s() > 0.25
