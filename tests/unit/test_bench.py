"""The benchmark's verdicts: which bounds there are, and that a figure that is missing counts as missed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from bounds import bounds, missed


@pytest.fixture
def results() -> dict[str, Any]:
    return {
        "one_caller_us": {name: {"p50": p50} for name, p50 in (("bare", 100), ("socket", 140), ("front_grpc", 230))},
        "eight_callers_rps": {"front_grpc": 4000, "handwritten_py37": 1000},
        "large_10mb_us": {"unix_copy": {"p50": 4}, "front_grpc": {"p50": 10}},
        "memory_mib": {"legacy": 80},
        "startup_s": {"serve": 3},
        "json_150528_floats": {"flat": {"ratio": 3}},
    }


def test_what_is_just_within_its_bounds_holds(results: dict[str, Any]) -> None:
    assert len(list(bounds(results))) == 7
    assert missed(results) == []


def test_what_is_beyond_is_told_with_its_figure(results: dict[str, Any]) -> None:
    results["one_caller_us"]["socket"]["p50"] = 141
    results["eight_callers_rps"]["front_grpc"] = 3990
    assert missed(results) == [
        "socket, × the bare call: 1.41, the bound is at most 1.4",
        "eight callers at the front, × the handwritten server: 3.99, the bound is at least 4",
    ]


def test_without_a_python_3_7_its_line_is_missed(results: dict[str, Any]) -> None:
    results["eight_callers_rps"]["handwritten_py37"] = None
    assert missed(results) == [
        "eight callers at the front, × the handwritten server: not measured, the bound is at least 4"
    ]
