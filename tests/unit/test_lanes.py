"""The lanes of `make test`: whatever marks a test has, one of them runs it, and no other."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from _pytest.mark.expression import Expression

from tools.lanes import AFTERWARDS, LAST_WORDS, SIDE_BY_SIDE

MARKS = ("docker", "gvisor", "bubblewrap", "podman", "alone", "slow")
SUBSETS = list(chain.from_iterable(combinations(MARKS, count) for count in range(len(MARKS) + 1)))


@pytest.mark.parametrize("marks", SUBSETS, ids="+".join)
def test_each_test_is_in_one_lane(marks: tuple[str, ...]) -> None:
    lanes = (*SIDE_BY_SIDE.values(), *AFTERWARDS.values())
    assert [Expression.compile(words).evaluate(lambda mark, /, **_: mark in marks) for words in lanes].count(True) == 1


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
