"""The lanes of `make test`: whatever marks a test has, one of them runs it, and no other."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import chain, combinations

import pytest
from _pytest.mark.expression import Expression

from tools import lanes
from tools.lanes import AFTERWARDS, LAST_WORDS, SIDE_BY_SIDE, Lane, quick

MARKS = ("docker", "gvisor", "bubblewrap", "podman", "alone", "slow", "thorough")
SUBSETS = list(chain.from_iterable(combinations(MARKS, count) for count in range(len(MARKS) + 1)))


def lanes_of(marks: tuple[str, ...], *chosen: Mapping[str, str]) -> int:
    words = [selection for lanes in chosen for selection in lanes.values()]
    return sum(Expression.compile(each).evaluate(lambda mark, /, **_: mark in marks) for each in words)


@pytest.mark.parametrize("marks", SUBSETS, ids="+".join)
def test_each_test_is_in_one_lane_and_a_thorough_one_in_none_of_the_quick_ones(marks: tuple[str, ...]) -> None:
    assert lanes_of(marks, SIDE_BY_SIDE, AFTERWARDS) == 1
    assert lanes_of(marks, quick(SIDE_BY_SIDE), quick(AFTERWARDS)) == ("thorough" not in marks)


@pytest.mark.parametrize(
    ("line", "is_last_word"),
    [
        ("FAILED tests/unit/test_a.py::test_b - assert 1 == 2\n", True),
        ("===== 1 failed, 4859 passed, 1128 deselected in 1436.14s (0:23:56) =====\n", True),
        ("engines: docker ran (3 tests)\n", True),
        ("tests/unit/test_a.py ....                  [ 10%]\n", False),
        ("=========================== FAILURES ===========================\n", False),
    ],
)
def test_what_is_repeated_at_the_end(line: str, is_last_word: bool) -> None:
    assert bool(LAST_WORDS.match(line)) is is_last_word


def lane(program: str) -> Lane:
    return Lane("lane", [sys.executable, "-u", "-c", program])


def test_one_that_has_ended_is_not_waited_for_though_what_it_left_behind_could_still_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lanes, "PRINTS_S", 0.2)
    left = "import subprocess; print('== 1 passed in 1s'); print(subprocess.Popen(['sleep', '5']).pid, flush=True)"
    running = lane(left)
    running.wait(20)
    assert running.exit_code == 0
    assert running.last_words == ["== 1 passed in 1s\n"]
    assert "lane | == 1 passed in 1s\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("hangs", "exit_code"),
    [
        ("import time; print('begins'); time.sleep(600)", -2),
        ("import signal, time; signal.signal(2, signal.SIG_IGN); print('begins'); time.sleep(600)", -6),
        (
            "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 6)]; print('begins'); time.sleep(600)",
            -9,
        ),
    ],
    ids=["and can be interrupted", "and says where", "and does not even say where"],
)
def test_one_that_hangs_is_ended(
    hangs: str, exit_code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lanes, "CLEANS_UP_S", 1)
    monkeypatch.setattr(lanes, "PRINTS_S", 1)
    running = lane(hangs)
    said = ""
    while "begins" not in said:
        running.wait(0.1)
        said += capsys.readouterr().out
    assert running.exit_code is None
    running.end()
    assert running.exit_code == exit_code
    assert "has not ended, and is interrupted" in capsys.readouterr().out
    assert running.last_words[0] == "begins\n"
