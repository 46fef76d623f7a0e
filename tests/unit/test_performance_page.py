"""The page of figures is what the kept run says: nobody has typed a number into it."""

from __future__ import annotations

import json

from tools import performance_page


def test_page_and_picture_are_those_of_the_kept_run() -> None:
    results = json.loads(performance_page.KEPT.read_text())
    assert performance_page.PAGE.read_text() == performance_page.page(results)
    assert performance_page.PICTURE.read_text() == performance_page.picture(results)


def test_what_could_not_be_measured_is_left_open() -> None:
    results = json.loads(performance_page.KEPT.read_text())
    for key in ("one_caller_us", "eight_callers_rps", "memory_mib"):
        results[key]["handwritten_py37"] = None
    page = performance_page.page(results)
    assert "| a hand-written grpcio server, Python 3.7 | — | — | — |" in page
    assert "| eight callers at the front, × the handwritten server | — | ≥ 4 | **missed** |" in page
    assert "hand-written" not in performance_page.picture(results)
