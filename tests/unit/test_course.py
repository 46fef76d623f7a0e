"""How a result came about: in few readings, however long it takes, in a file that an older stopgap may have begun."""

from __future__ import annotations

import math
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from stopgap.observer import results as module
from stopgap.observer.course import MOST_READINGS, Reading, readings_in, since, superfluous
from stopgap.observer.results import Batch, Results


def reading(units: int, outcome: str = "INCONCLUSIVE", at_s: float = 0.0) -> Reading:
    return Reading(at_s, units, 0.9, 0.8, 1.0, outcome)


def grown(readings: list[Reading]) -> list[Reading]:
    """What is left when they come one after the other."""
    known: list[Reading] = []
    for each in readings:
        known = [*(before for before in known if before.units != each.units), each]
        gone = superfluous(known)
        known = [one for one in known if one.units not in gone]
        assert len(known) <= MOST_READINGS
    return known


@pytest.mark.parametrize("count", [1, 3, 239, 241, 5000])
@pytest.mark.parametrize("pace", [1, 1000])
def test_readings_stay_few_and_spread_over_all_units(count: int, pace: int) -> None:
    left = [each.units for each in grown([reading(number * pace) for number in range(count)])]
    assert (left[0], left[-1]) == (0, (count - 1) * pace)
    gaps = [after - before for before, after in zip(left, left[1:])]
    assert max(gaps, default=0) <= max(pace, 4 * left[-1] / MOST_READINGS + pace)
    assert len(left) >= min(count, MOST_READINGS // 3)


def test_the_moment_at_which_the_outcome_changed_stays() -> None:
    outcomes = ["INCONCLUSIVE"] * 100 + ["FAIL"] * 3 + ["PASS"] * 4000
    left = grown([reading(number, outcome, float(number)) for number, outcome in enumerate(outcomes)])
    assert {each.at_s for each in left} >= {100.0, 103.0}
    assert since(left) == 103.0
    assert since([]) is None


def test_an_outcome_that_changes_all_the_time_does_not_make_it_grow() -> None:
    left = grown([reading(number, "PASS" if number % 2 else "FAIL") for number in range(2000)])
    assert (left[0].units, left[-1].units) == (0, 1999)


def condition(units: int, **changes: Any) -> dict[str, Any]:
    return {"units": units, "estimate": 0.9, "lower": None, "upper": "inf", "outcome": "INCONCLUSIVE", **changes}


def test_a_result_says_what_is_known_of_each_condition() -> None:
    (first, second) = readings_in({"conditions": [condition(7), condition(8, outcome="PASS")]}, 12.5)
    assert (first.units, first.at_s, first.estimate, first.upper) == (7, 12.5, 0.9, math.inf)
    assert math.isnan(first.lower)
    assert second.outcome == "PASS"
    assert readings_in({}, 0.0) == []


def test_what_was_read_is_kept_by_condition_and_bounded(tmp_path: Path) -> None:
    with Results(tmp_path / "results") as results:
        begun = results.begin("bound", {})
        for units in range(MOST_READINGS * 2):
            found = {"conditions": [condition(units), condition(2 * units, estimate=0.5)]}
            results.write(begun.id, Batch(result=found))
        course = results.course(begun.id)
        assert list(course) == [0, 1]
        assert all(len(known) <= MOST_READINGS for known in course.values())
        assert (course[1][-1].units, course[1][-1].estimate) == (4 * MOST_READINGS - 2, 0.5)
        assert math.isnan(course[0][0].lower)
        assert course[0][0].upper == math.inf
        other = results.begin("other", {})
        assert results.course(other.id) == {}
        for _ in range(25):
            results.begin("again", {})
        assert results.course(begun.id) == {}, "it goes with its experiment"


def test_a_file_from_before_gets_what_it_lacks_and_keeps_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "results"
    before = re.sub(r"CREATE TABLE IF NOT EXISTS course \(.*?\) WITHOUT ROWID;", "", module.TABLES, flags=re.DOTALL)
    assert "course" not in before
    with closing(sqlite3.connect(file)) as base:
        base.executescript(f"PRAGMA journal_mode = WAL; {before} PRAGMA user_version = 1;")
        base.execute("INSERT INTO experiments (bound, told, begun_s) VALUES ('bound', '{}', 1.0)")
        base.commit()
    with Results(file, make=False) as reader, Results(file) as writer:
        newest = reader.newest()
        assert newest is not None
        assert reader.course(newest.id) == {}
        writer.write(newest.id, Batch(result={"conditions": [condition(3)]}))
        assert [each.units for each in reader.course(newest.id)[0]] == [3]
    with closing(sqlite3.connect(file)) as base:
        assert base.execute("PRAGMA user_version").fetchone() == (module.SCHEMA,)
