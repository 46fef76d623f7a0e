"""An observer's parts, each by itself: the queue, the file, the judge that is put together again, the accounts."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopgap.comparison.judge import Judge
from stopgap.comparison.pairs import Answer, Case, Failure, Pair
from stopgap.comparison.plan import Plan
from stopgap.engines.monitor import lease
from stopgap.errors import ShadowError
from stopgap.front.mirrored import Mirrored
from stopgap.observer.counting import LOST, UNDELIVERED, advanced, totals_in, warnings
from stopgap.observer.judging import nameless, read, restored, row_of, written
from stopgap.observer.report import result_now
from stopgap.observer.results import Batch, Bounds, Results, Row
from stopgap.observer.tap import QUEUE_FULL, TOO_LARGE, WAITED, Tap
from stopgap.settings import Address
from stopgap.shadows import Shadow, find, folder_of, forget, put, remove, shadow_names, shadows
from stopgap.stages import Model
from stopgap.store import Store

PLAN = Plan.of(
    mode="retrained",
    slices=["country"],
    conditions=[{"measure": "top_1", "output": "probs", "margin": 0.9}, {"measure": "parity", "margin": 0.9}],
)
MODULES_WRITER = """
import sys, time
from pathlib import Path
from stopgap.observer.report import result_now
from stopgap.observer.results import Batch, Results, Row
with Results(Path(sys.argv[1])) as results:
    begun = results.begin("x", {})
    number = 0
    while True:
        rows = [Row(0.0, str(number + place), {}, b"a" * 5000) for place in range(50)]
        number += 50
        results.write(begun.id, Batch(rows, {"joined": number}))
        print(number, flush=True)
"""


def pairs(count: int, seed: int = 0) -> list[Pair]:
    drawn = np.random.default_rng(seed)
    made = []
    for number in range(count):
        probs = drawn.random((2, 3)).astype(np.float32)
        inputs = {"x": drawn.random((2, 4)), "country": np.array([b"de" if number % 2 else b"fr"] * 2, dtype=object)}
        other = Answer({"probs": probs if number % 5 else probs[:, ::-1].copy()}, latency_s=0.002)
        candidate = Answer(failure=Failure("INTERNAL", "no")) if number % 17 == 3 else other
        made.append(Pair(Case(number, inputs), Answer({"probs": probs}, latency_s=0.001), candidate))
    return made


def told(judge: Judge) -> dict[str, Any]:
    return judge.result().as_json()


# The queue.


def tap(most: int = 3, most_bytes: int = 100, largest: int = 50, patience_s: float = 10.0) -> Tap:
    return Tap(most, most_bytes, largest, patience_s)


def test_what_does_not_fit_is_dropped_and_counted_by_its_reason() -> None:
    queue = tap()
    for size in (60, 40, 40, 40, 5, 5):
        queue.offer(b"x" * size)
    assert queue.counts() == (6, {TOO_LARGE: 1, QUEUE_FULL: 2})
    taken = [queue.take() for _ in range(3)]
    assert [(shown.number, len(shown.content)) for shown in taken if shown] == [(0, 40), (1, 40), (2, 5)]


def test_what_has_waited_too_long_is_not_asked_any_more() -> None:
    queue = tap(patience_s=0.05)
    queue.offer(b"old")
    time.sleep(0.1)
    queue.offer(b"new")
    shown = queue.take()
    assert shown is not None
    assert shown.content == b"new"
    assert queue.counts() == (2, {WAITED: 1})


def test_who_waits_is_let_go_when_it_is_closed() -> None:
    queue = tap()
    taken: list[object] = []
    waiting = threading.Thread(target=lambda: taken.append(queue.take()))
    waiting.start()
    queue.close()
    waiting.join(timeout=10)
    assert taken == [None]
    queue.offer(b"late")
    assert queue.counts() == (1, {QUEUE_FULL: 1})


def test_what_belongs_to_an_account_that_is_closed_is_counted_in_no_other() -> None:
    queue = tap(most=10)
    for content in (b"asked", b"waits", b"waits too"):
        queue.offer(content)
    asked = queue.take()
    assert asked is not None
    assert queue.turn() == (3, {})
    queue.drop(asked, "down")
    queue.offer(b"new")
    new = queue.take()
    assert new is not None
    assert new.content == b"new"
    queue.drop(new, "down")
    assert queue.counts() == (4, {"down": 1})


# The file.


def test_what_is_written_is_there_for_a_reader_and_for_the_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "results.sqlite3"
    with Results(file) as results, Results(file, make=False) as reader:
        begun = results.begin("bound", {"legacy": {"told": "it"}})
        results.write(begun.id, Batch([Row(1.0, "u", {"a": "b"}, b"answers")], {"seen": 3}, {"outcome": "PASS"}))
        seen = reader.newest()
        assert seen is not None
        assert (seen.bound, seen.told, seen.counts) == ("bound", {"legacy": {"told": "it"}}, {"seen": 3})
        assert seen.result == {"outcome": "PASS"}
        assert list(reader.rows_after(begun.id, 0)) == [Row(1.0, "u", {"a": "b"}, b"answers")]
        for each in tmp_path.iterdir():
            assert each.stat().st_mode & 0o077 == 0, each


def test_the_oldest_rows_go_but_none_that_the_judge_is_put_together_from(tmp_path: Path) -> None:
    with Results(tmp_path / "results", Bounds(rows=10, bytes=1000)) as results:
        begun = results.begin("x", {})
        rows = [Row(float(number), "u", {}, b"x" * 10) for number in range(30)]
        results.write(begun.id, Batch(rows))
        assert len(list(results.rows_after(begun.id, 0))) == 30
        results.write(begun.id, Batch(checkpoint=b"judge"))
        assert [row.at_s for row in results.rows_after(begun.id, 0)] == list(range(20, 30))
        results.write(begun.id, Batch([Row(99.0, "u", {}, b"x" * 950)], checkpoint=b"judge"))
        assert [row.at_s for row in results.rows_after(begun.id, 0)] == [*range(25, 30), 99.0]


def test_a_new_experiment_ends_the_last_one_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    with Results(tmp_path / "results") as results:
        for number in range(25):
            begun = results.begin(str(number), {})
            results.write(begun.id, Batch([Row(0.0, "u", {}, b"x")], {"seen": number}))
    with closing(sqlite3.connect(tmp_path / "results")) as base:
        assert base.execute("SELECT COUNT(*), SUM(ended_s IS NULL) FROM experiments").fetchone() == (20, 1)


def test_a_writer_that_is_killed_at_any_time_leaves_a_whole_file_with_all_that_was_committed(tmp_path: Path) -> None:
    file = tmp_path / "results"
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", MODULES_WRITER, str(file)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(20):
            said = writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.communicate(timeout=30)[0].split()
        committed = int(rest[-1] if rest else said)
        with Results(file, make=False) as results:
            newest = results.newest()
            assert newest is not None
            count = len(list(results.rows_after(newest.id, 0)))
            assert count == newest.counts["joined"] >= committed
        with closing(sqlite3.connect(file)) as base:
            assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "results"
    with closing(sqlite3.connect(file)) as base:
        base.execute("PRAGMA user_version = 99")
    with pytest.raises(ShadowError, match="another version"):
        Results(file)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "results"
    file.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ShadowError, match="cannot be opened"):
        Results(file)


# The judge.


@pytest.mark.parametrize("checkpoint_after", [0, 1, 150, 300])
def test_a_judge_is_put_together_again_as_it_was(checkpoint_after: int, tmp_path: Path) -> None:
    whole = Judge(PLAN)
    # Of what the checkpoint has, the rows go: it is not all judged anew.
    with Results(tmp_path / "results", Bounds(rows=20)) as results:
        begun = results.begin("x", {})
        for number, pair in enumerate(pairs(300), start=1):
            bare = nameless(pair, PLAN)
            assert whole.add(bare)
            checkpoint = written(whole) if number == checkpoint_after else None
            results.write(begun.id, Batch([row_of(bare, 0.0)], checkpoint=checkpoint))
        newest = results.newest()
        assert newest is not None
        again = restored(results, newest, PLAN, {"lost": 7})
    whole.dropped(7, "lost")
    assert told(again) == told(whole)
    assert told(again)["conditions"][0]["slices"]
    assert not again.add(nameless(pairs(1)[0], PLAN))  # it knows what it has seen


def test_a_pair_without_its_inputs_is_judged_as_with_them() -> None:
    one, other = Judge(PLAN), Judge(PLAN)
    for pair in pairs(120):
        one.add(pair)
        other.add(nameless(pair, PLAN))
    assert told(one) == told(other)
    assert nameless(pairs(1)[0], PLAN).case.inputs == {}


def test_a_checkpoint_of_somebody_elses_making_is_not_taken() -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, ("touch /tmp/never",)

    assert read(pickle.dumps(("by", Evil())), PLAN) is None
    assert read(b"nothing", PLAN) is None
    good = written(Judge(PLAN))
    assert read(good, PLAN) is not None
    assert read(good, replace(PLAN, alpha=0.01)) is None


# The accounts.


def test_counters_are_added_up_over_a_restart_of_the_front() -> None:
    counts = advanced({}, Mirrored(100, 50, 40, 10), 500_000, only_read=True)
    assert totals_in(counts).predictions == 0
    counts.update(advanced(counts, Mirrored(300, 150, 135, 15, not_mirrored=2), 500_000))
    counts.update(advanced(counts, Mirrored(20, 10, 10, 0), 100_000))
    totals = totals_in(counts)
    assert (totals.predictions, totals.sent, totals.undelivered, totals.not_mirrored) == (220, 110, 5, 2)
    assert totals.expected == 102


def test_a_sample_that_was_changed_between_two_readings_is_no_alarm() -> None:
    counts = advanced({}, Mirrored(5000, 1500, 1500), 1_000_000, unsure=900_000)
    assert not any("sample" in text for text in warnings(totals_in(counts)))
    counts = advanced({}, Mirrored(5000, 100, 100), 1_000_000, unsure=900_000)
    assert any("sample" in text for text in warnings(totals_in(counts)))


def test_it_is_none_for_whoever_reads_the_front_before_the_observer_does_either() -> None:
    counts = advanced({}, Mirrored(5000, 500, 500), 100_000)
    at_once = {**counts, **advanced(counts, Mirrored(10_000, 1000, 1000), 1_000_000)}
    assert warnings(totals_in({**at_once, "seen": 1000, "joined": 1000})) == []
    counts.update(advanced(counts, Mirrored(10_000, 1000, 1000), 1_000_000))
    later = advanced(counts, Mirrored(20_000, 2000, 2000), 1_000_000)
    assert any("sample" in text for text in warnings(totals_in({**counts, **later})))


def test_both_accounts_are_held_against_each_other() -> None:
    counts = {"seen": 90, "joined": 70, f"dropped: {UNDELIVERED}": 10, f"dropped: {LOST}": 15}
    counts.update(advanced(counts, Mirrored(100, 100, 90, 10), 1_000_000))
    totals = totals_in(counts)
    assert (totals.waiting, totals.unaccounted) == (5, 0)


@pytest.mark.parametrize(
    ("read_now", "per_million", "said"),
    [
        (Mirrored(), 100_000, "No prediction has come"),
        (Mirrored(5000), 100_000, "NOTHING WAS MIRRORED of 5000"),
        (Mirrored(5000, 200, 200), 100_000, "the sample is not what it should be"),
        (Mirrored(5000, 500, 300), 100_000, "200 requests were mirrored and neither arrived"),
        (Mirrored(5000, 500, 500, not_mirrored=3), 100_000, "3 requests came over REST"),
    ],
)
def test_what_a_person_has_to_know_is_told(read_now: Mirrored, per_million: int, said: str) -> None:
    counts = advanced({}, read_now, per_million)
    totals = totals_in({**counts, "missing at the last reading": read_now.sent - read_now.delivered})
    assert any(said in text for text in warnings(totals))


def test_where_all_is_well_nothing_is_told() -> None:
    counts = {"seen": 500, "joined": 500}
    counts.update(advanced({}, Mirrored(5000, 500, 500), 100_000))
    assert warnings(totals_in(counts)) == []


# What is wanted.


def test_a_shadow_is_remembered_and_what_was_found_outlives_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    shadow = Shadow("ranker", 100_000, "word", candidate="other", typed="./other", plan={"mode": "retrained"})
    put(shadow, store)
    assert (find("ranker", store), shadows(store), shadow_names(store)) == (shadow, (shadow,), ("ranker",))
    folder = store.folder / "shadows" / "ranker"
    assert folder.stat().st_mode & 0o077 == 0
    (folder / "results.sqlite3").touch()
    remove("ranker", store)
    assert (find("ranker", store), shadow_names(store)) == (None, ())
    assert (folder / "results.sqlite3").exists()
    forget("ranker", store)
    assert not folder.exists()


def test_a_damaged_shadow_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    put(Shadow("good", 1, "word", candidate="other"), store)
    put(Shadow("bad", 1, "word", candidate="other"), store)
    (store.folder / "shadows" / "bad" / "shadow.json").write_text("{}")
    assert [each.name for each in shadows(store)] == ["good"]
    with pytest.raises(ShadowError, match="damaged"):
        find("bad", store)


def test_an_observers_socket_is_in_no_sandboxs_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    socket = store.observer_socket(Address().grpc_port, "ranker", "shadow")
    assert not socket.is_relative_to(store.front_folder(Address().grpc_port) / "sandboxes")


def test_a_guard_is_told_of_a_shadow_of_just_its_two_models(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(Shadow("ranker", 10_000, "word", candidate="ranker2", typed="ranker2"), store)
    legacy, candidate = Model("ranker", "a" * 64, 1), Model("ranker2", "b" * 64, 2)
    told = {"legacy": {"digest": legacy.digest}, "candidate": {"digest": candidate.digest}}
    with Results(folder_of("ranker", store) / "results.sqlite3") as results:
        begun = results.begin("bound", told)
        results.write(begun.id, Batch(result={"conditions": []}))
    assert result_now(legacy, candidate, store) == {}  # nobody observes
    held = lease.acquire(folder_of("ranker", store))
    assert held is not None
    try:
        assert result_now(legacy, candidate, store) == {"conditions": []}
        assert result_now(legacy, replace(candidate, name="ranker3"), store) == {}
        assert result_now(legacy, replace(candidate, digest="c" * 64), store) == {}
        assert result_now(replace(legacy, digest="c" * 64), candidate, store) == {}
    finally:
        os.close(held)
