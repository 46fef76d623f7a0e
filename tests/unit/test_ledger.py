"""A split's ledger: callers counted once, one word on each answer, bounds, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from stopgap.cli.ledger_table import ledger_object, print_ledger
from stopgap.errors import DataError, LedgerError
from stopgap.handover.feedback import take_feedback
from stopgap.ledger.book import LOOKS, Arm, Book, Bounds, Feedback, Firsts, Taken
from stopgap.ledger.entries import Entry, entries, unit_of
from stopgap.ledger.feedback import feedback_in
from stopgap.ledger.ratio import SampleRatio, log_capital
from stopgap.ledger.report import report_of
from stopgap.ledgers import amiss, book_file, folder_of
from stopgap.person import Person
from stopgap.stages import Model, Stage, Step, begun
from stopgap.store import Store
from stopgap_protos.access_log_pb2 import StreamAccessLogsMessage

DEFAULTS = Bounds()
SALT = "0123456789abcdef"
MODELS = ("clicks", "clicks2")
HALF = Step(
    datetime(2026, 11, 27, tzinfo=timezone.utc), Stage.SPLIT, Stage.SPLIT, "clicks2", 5000, Person(1000, "anna")
)
ENTRY = Entry(f"clicks/{SALT}", "clicks", b"u" * 16, 1000, b"i" * 16, False, 1500, 0.0)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return made(tmp_path)


def made(folder: Path, bounds: Bounds = DEFAULTS, salt: str = SALT) -> Book:
    return Book.of_split(folder / "clicks.sqlite3", salt, "clicks", "clicks2", bounds)


def answer(user: int, model: str = "clicks", *, share: int = 1000, failed: bool | None = False) -> Entry:
    """A new one, to a caller of that number."""
    unit = unit_of(str(user).encode(), SALT)
    return replace(ENTRY, model=model, unit=unit, share=share, id=uuid.uuid4().bytes, failed=failed, at_s=time.time())


def told(book: Book, entry: Entry, reward: float | None = None, label: str | None = None) -> Taken:
    assert entry.id is not None
    return book.tell(Feedback(entry.id, reward, label))


def test_a_caller_counts_once_by_its_first_answer_however_often_it_asks(book: Book) -> None:
    book.write([answer(1), answer(1, failed=True), answer(2, "clicks2", failed=True), answer(3, failed=None)])
    book.write([answer(1), answer(2, "clicks2")])
    known = book.known()
    assert (known.ratio.units, known.ratio.candidates) == (3, 1)
    assert known.legacy.at(1000) == Firsts(units=2, judged=1, failed=0)
    assert known.candidate.at(1000) == Firsts(units=1, judged=1, failed=1)
    assert (known.legacy.requests, known.legacy.requests_failed) == (4, 1)
    assert known.legacy.took_s == pytest.approx(4 * 0.0015)
    assert (known.moved, known.not_units) == (0, 0)


def test_a_caller_that_a_larger_share_has_moved_stays_where_it_was_first_seen(book: Book) -> None:
    first, moved = answer(1), answer(1, "clicks2", share=5000)
    book.write([first, moved])
    assert told(book, moved, 1.0) is Taken.NOW
    known = book.known()
    assert (known.legacy.units, known.candidate.units, known.moved) == (1, 0, 1)
    assert (known.candidate.apart, known.candidate.firsts) == (1, {})
    assert told(book, first, 0.25) is Taken.NOW  # it has had no reward yet that counts
    assert book.known().legacy.at(1000).rewards == {0.25: 1}


def test_callers_are_compared_with_those_of_the_same_share_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The candidate is worse on both days; the second was better for everybody, and most of its callers are of that."""
    store = Store(tmp_path)
    book_file("clicks", store).parent.mkdir(parents=True)
    days = {1000: (0.5, 0.2), 5000: (1.0, 0.8)}
    with Book.of_split(book_file("clicks", store), SALT, "clicks", "clicks2") as book:
        for share, rewards in days.items():
            hers = [number % 10 < share // 1000 for number in range(1000)]
            asked = [answer(share + number, MODELS[is_hers], share=share) for number, is_hers in enumerate(hers)]
            book.write(asked)
            book.tell_all(Feedback(each.id or b"", rewards[is_hers]) for each, is_hers in zip(asked, hers))
    split = replace(begun(Model("clicks", "a" * 64, 1), 8500), salt=SALT, reward_margin=0.1, history=(HALF,))
    report = report_of(split, store)  # it has ended, and its callers stay as they were
    assert report is not None
    assert (report.units, report.left_out, report.share) == (1000, 1000, 5000)
    assert report.rewards.estimate == pytest.approx(-0.2)
    assert report.rewards.outcome == "FAIL"
    assert mean_of(report.known.candidate) > mean_of(report.known.legacy)  # what it would have looked like
    assert ledger_object(report)["left_out"] == 1000
    print_ledger(report, 0.1)
    shown = capsys.readouterr().out
    assert "the 1000 callers that were first seen at the share of 50 %; 1000 were first seen at another" in shown
    assert "at most 0.1 lower: FAIL" in shown


def test_a_reward_for_an_answer_at_another_share_is_counted_apart(book: Book) -> None:
    first, later = answer(1), answer(1, share=5000)
    book.write([first, later])
    told(book, later, 1.0)
    assert (book.known().legacy.apart, book.known().legacy.at(1000).rewards) == (1, {})


def mean_of(arm: Arm) -> float:
    return sum(value * units for firsts in arm.firsts.values() for value, units in firsts.rewards.items()) / arm.units


def test_one_word_on_each_answer_and_one_reward_of_each_caller(book: Book) -> None:
    asked = [answer(1), answer(1), answer(2)]
    book.write(asked)
    assert [told(book, each, 0.7) for each in asked] == [Taken.NOW, Taken.NOW, Taken.NOW]
    assert told(book, asked[0], 0.1) is Taken.BEFORE
    assert told(book, answer(4), 0.1) is Taken.UNKNOWN
    assert (book.known().legacy.feedback, book.known().legacy.at(1000).rewards) == (3, {0.7: 2})


def test_labels_are_counted_up_to_a_hundred_of_them(book: Book) -> None:
    asked = [answer(number) for number in range(103)]
    book.write(asked)
    for number, each in enumerate(asked):
        told(book, each, label=f"label {number}" if number < 102 else "label 0")
    labels = book.known().legacy.labels
    assert (len(labels), labels["label 0"], labels["(others)"]) == (101, 2, 2)


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    book = made(tmp_path, Bounds(units=3, requests=4, keep_s=60))
    asked = [answer(number) for number in range(6)]
    book.write([*asked[:5], replace(asked[5], unit=None)])
    known = book.known()
    assert (known.legacy.units, known.not_units, known.legacy.requests) == (3, 3, 6)
    assert [told(book, each, 1.0) for each in asked] == [Taken.UNKNOWN] * 2 + [Taken.NOW] * 4
    assert book.known().legacy.at(1000).rewards == {1.0: 1}  # of the third caller; who came after it is no unit
    old = replace(answer(9), at_s=time.time() - 61)
    book.write([old])
    assert told(book, old, 1.0) is Taken.UNKNOWN


def test_another_split_begins_with_nothing_and_the_same_goes_on(tmp_path: Path) -> None:
    with made(tmp_path) as book:
        book.write([answer(1)], counted_by_front=1)
    with made(tmp_path) as book:
        assert book.known().ratio.units == 1
    with made(tmp_path, salt="f" * 16) as book:
        assert (book.known().ratio.units, book.known().legacy.requests, book.salt) == (0, 0, "f" * 16)


def test_what_the_front_has_counted_and_nobody_has_heard_of_is_lost_over_its_restarts_too(book: Book) -> None:
    book.write([answer(number) for number in range(10)], counted_by_front=12)
    assert book.known().lost == 0  # it may be on its way
    looked(book, 12)
    assert book.known().lost == 2
    book.write([answer(11)], counted_by_front=3)  # it has started anew
    looked(book, 3)
    assert book.known().lost == 4
    book.write([])
    assert book.known().lost == 4


def test_what_is_on_its_way_is_not_lost_and_what_is_lost_does_not_become_less(book: Book) -> None:
    book.write([answer(1)], counted_by_front=1)
    for count in range(2, 20):  # at each look the latest is missing, but for every third
        book.write([answer(count)], counted_by_front=count + (count % 3 > 0))
        book.write([])
        assert book.known().lost == 0
    looked(book, 25)
    assert book.known().lost == 6
    book.write([answer(number) for number in range(30, 40)])
    looked(book, 29)
    assert book.known().lost == 6


def looked(book: Book, counted: int) -> None:
    """As often as it takes until what is missing is lost."""
    for _ in range(LOOKS):
        book.write([], counted_by_front=counted)


def test_shares_that_are_wrong_stay_so_and_each_share_is_held_against_its_own_callers(book: Book) -> None:
    book.write([answer(number, "clicks2" if number % 10 == 0 else "clicks") for number in range(2000)])
    later = range(2000, 4000)
    book.write([answer(number, "clicks2" if number % 2 == 0 else "clicks", share=5000) for number in later])
    assert not book.known().ratio.mismatch
    book.write([answer(number, "clicks2", share=5000) for number in range(4000, 4400)])
    assert book.known().ratio.mismatch
    book.write([answer(number, share=5000) for number in range(4400, 4800)])  # as if nothing had been
    assert book.known().ratio.mismatch


def test_the_capitals_of_all_shares_are_looked_at_together(book: Book) -> None:
    """The first share's alone would be worth something; it never was without the second's, which has lost."""
    lucky = [answer(number, "clicks2" if number < 25 else "clicks", share=1000) for number in range(100)]
    right = [answer(number, "clicks2" if number % 2 else "clicks", share=5000) for number in range(100, 2100)]
    book.write([*lucky, *right])
    alone, together = log_capital(0.1, 25, 75), log_capital(0.1, 25, 75) + log_capital(0.5, 1000, 1000)
    assert book.known().ratio.evidence == pytest.approx(max(0, together))
    assert alone > max(0, together) + 1


def test_a_share_that_grows_is_seldom_called_wrong() -> None:
    drawn, wrong = np.random.default_rng(5), 0
    for _ in range(1000):
        ratio = SampleRatio(alpha=0.05)
        for share in (0.01, 0.1, 0.5):
            for mine in (drawn.random((20, 25)) < share).sum(axis=1):
                ratio.update(share, int(mine), 25 - int(mine))
        wrong += ratio.look().mismatch  # what was seen once stays so
    assert wrong / 1000 <= 0.05


def test_the_file_is_its_owners_alone_and_another_version_is_refused(tmp_path: Path) -> None:
    made(tmp_path).close()
    assert (tmp_path / "clicks.sqlite3").stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(tmp_path / "clicks.sqlite3") as base:
        base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(LedgerError, match="another version"):
        made(tmp_path)


def test_a_models_name_is_never_taken_for_a_fronts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for place in (book_file(name, store) for name in ("front-end", "fronts", "8500")):
        place.parent.mkdir(parents=True, exist_ok=True)
        Book.of_split(place, SALT, "clicks", "clicks2").close()
    folder_of(8500, store).mkdir(parents=True)
    assert amiss(store) == []


WRITES = """
import sys, uuid
from pathlib import Path
from tests.unit.test_ledger import answer, made
book = made(Path(sys.argv[1]))
for number in range(1 << 30):
    book.write([answer(10 * number + each) for each in range(10)], counted_by_front=10 * number + 10)
    print(number, flush=True)
"""


def test_a_kill_at_any_moment_leaves_what_was_written_and_all_of_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(20)]
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.readlines()
    writer.communicate(timeout=20)
    with made(tmp_path) as book:
        known = book.known()
    batches = known.legacy.requests // 10
    assert known.legacy.requests % 10 == 0
    assert batches in (int(lines[-1]) + 1, int(lines[-1]) + 2)  # the last one may have been written, and not told
    assert (known.legacy.units, known.lost) == (known.legacy.requests, 0)


def logged(**changes: bytes) -> StreamAccessLogsMessage:
    """As Envoy sends it."""
    message = StreamAccessLogsMessage()
    entry = message.http_logs.log_entry.add()
    entry.common_properties.route_name = f"takeover/keyed/{ENTRY.split}"
    entry.common_properties.upstream_cluster = "clicks"
    entry.common_properties.time_to_last_rx_byte.FromMicroseconds(500)
    entry.common_properties.time_to_last_downstream_tx_byte.FromMicroseconds(2000)
    entry.common_properties.custom_tags.update({"share": b"1000", "caller": b"user-7", **changes})
    entry.response.response_code.value = 200
    entry.response.response_headers["stopgap-request-id"] = b"0b866e72-4c26-4914-ae3d-eb6e68b0fbfa"
    return message


def only(message: StreamAccessLogsMessage) -> Entry:
    (entry,) = entries(message.SerializeToString())
    return entry


def test_an_entry_has_a_digest_in_the_keys_place() -> None:
    entry = only(logged())
    assert (entry.split, entry.model, entry.share, entry.took_us, entry.failed) == (
        ENTRY.split,
        "clicks",
        1000,
        1500,
        False,
    )
    assert entry.unit == unit_of(b"user-7", SALT) != unit_of(b"user-7", "f" * 16)
    assert entry.id == uuid.UUID("0b866e72-4c26-4914-ae3d-eb6e68b0fbfa").bytes


def test_a_key_that_is_no_text_is_one_all_the_same_and_one_that_is_not_told_is_none() -> None:
    assert only(logged(caller=b"\xff\xfe")).unit == unit_of(b"\xff\xfe", SALT)
    message = logged()
    del message.http_logs.log_entry[0].common_properties.custom_tags["caller"]
    assert only(message).unit is None


@pytest.mark.parametrize(
    ("code", "trailer", "header", "failed"),
    [
        (200, b"", b"", False),
        (404, b"", b"", True),
        (0, b"", b"", None),
        (200, b"0", b"", False),
        (200, b"13", b"", True),
        (200, b"1", b"", None),
        (200, b"", b"8", True),
        (200, b"\xff", b"", True),
    ],
)
def test_who_has_failed(code: int, trailer: bytes, header: bytes, failed: bool | None) -> None:
    message = logged()
    response = message.http_logs.log_entry[0].response
    response.response_code.value = code
    if trailer:
        response.response_trailers["grpc-status"] = trailer
    if header:
        response.response_headers["grpc-status"] = header
    assert only(message).failed is failed


@pytest.mark.parametrize("share", [b"", b"0", b"10000", b"x", b"-1", b"\xff"])
def test_what_is_of_no_split_is_left_out(share: bytes) -> None:
    assert list(entries(logged(share=share).SerializeToString())) == []


IDENTITY = "0b866e72-4c26-4914-ae3d-eb6e68b0fbfa"


@pytest.mark.parametrize(
    ("text", "reward", "label"),
    [
        (f'{{"id": "{IDENTITY}", "reward": 1}}', 1.0, None),
        (f'{{"id": "{IDENTITY}", "label": 3}}', None, "3"),
        (f'{{"id": "{IDENTITY}", "reward": 0.5, "label": "clicked"}}', 0.5, "clicked"),
    ],
)
def test_feedback_is_a_reward_or_a_label_or_both(text: str, reward: float | None, label: str | None) -> None:
    assert feedback_in(text.encode()) == Feedback(uuid.UUID(IDENTITY).bytes, reward, label)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no JSON"),
        ("[" * 2000, "no JSON"),
        ("7", "no JSON object"),
        ("{}", '"id" must be'),
        ('{"id": 7, "reward": 1}', '"id" must be'),
        (f'{{"id": "{{{IDENTITY}}}", "reward": 1}}', '"id" must be'),
        (f'{{"id": "{IDENTITY}"}}', "neither"),
        (f'{{"id": "{IDENTITY}", "right": true}}', "no field right"),
        (f'{{"id": "{IDENTITY}", "\\u001b[2J": 1}}', r"no field \\x1b"),
        (f'{{"id": "{IDENTITY}", "reward": true}}', '"reward" must be'),
        (f'{{"id": "{IDENTITY}", "reward": NaN}}', '"reward" must be'),
        (f'{{"id": "{IDENTITY}", "reward": 1.1}}', '"reward" must be'),
        (f'{{"id": "{IDENTITY}", "reward": 1e999}}', '"reward" must be'),
        (f'{{"id": "{IDENTITY}", "label": ""}}', '"label" must be'),
        (f'{{"id": "{IDENTITY}", "label": "a\\nb"}}', '"label" must be'),
        (f'{{"id": "{IDENTITY}", "label": {"9" * 65}}}', '"label" must be'),
        (f'{{"id": "{IDENTITY}", "label": [1]}}', '"label" must be'),
    ],
)
def test_what_is_no_feedback_is_told(text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        feedback_in(text.encode())


def test_of_a_file_all_is_taken_or_nothing(tmp_path: Path) -> None:
    store, file = Store(tmp_path), tmp_path / "feedback.jsonl"
    with pytest.raises(LedgerError, match="never split"):
        take_feedback("clicks", file, store)
    book_file("clicks", store).parent.mkdir(parents=True)
    asked = [answer(number) for number in range(3)]
    with Book.of_split(book_file("clicks", store), SALT, "clicks", "clicks2") as book:
        book.write(asked)
    lines = [f'{{"id": "{uuid.UUID(bytes=each.id)}", "reward": 1}}' for each in asked]
    file.write_text("\n".join([*lines, "nonsense"]))
    with pytest.raises(DataError, match="line 4: That is no JSON"):
        take_feedback("clicks", file, store)
    file.write_text("\n".join([*lines, "", lines[0], f'{{"id": "{IDENTITY}", "reward": 1}}']))
    taken = take_feedback("clicks", file, store)
    assert [taken[each] for each in Taken] == [3, 1, 1]


def test_a_pipe_is_a_file_too(tmp_path: Path) -> None:
    store, asked = Store(tmp_path), answer(1)
    book_file("clicks", store).parent.mkdir(parents=True)
    with Book.of_split(book_file("clicks", store), SALT, "clicks", "clicks2") as book:
        book.write([asked])
    reader, writer = os.pipe()
    with open(writer, "w") as lines:  # noqa: PTH123 - a descriptor, not a path
        lines.write(f'{{"id": "{uuid.UUID(bytes=asked.id)}", "reward": 1}}\n')
    try:
        assert take_feedback("clicks", Path(f"/dev/fd/{reader}"), store) == {Taken.NOW: 1}
    finally:
        os.close(reader)
