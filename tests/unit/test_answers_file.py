"""The file of all answers: whatever becomes of it, what is read back was written, in order, from the first on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from stopgap.asking.answers_file import AnswersFile
from stopgap.asking.candidates import candidates_tried
from stopgap.comparison.pairs import Answer, Failure
from stopgap.errors import DataError

BELONGS_TO = {"the data": "d", "the candidate": "c"}
STRINGS = np.array([[b"a\0"], [b""]], object)


def answers(number: int) -> tuple[Answer, Answer]:
    """Others for each number, with all that an answer can be."""
    outputs = {"y": np.full((2, 3), number, np.float32), "words": STRINGS, "odd": np.array([np.nan, -np.inf])}
    legacy = Answer(outputs, latency_s=number / 1000)
    failed = Answer(failure=Failure("INTERNAL", f"\x1b[31m{number}"), latency_s=0.5)
    return legacy, (failed, Answer({}), Answer({"n": np.array(number, np.int64)}))[number % 3]


def same(one: Answer, other: Answer) -> bool:
    if (one.failure, one.latency_s) != (other.failure, other.latency_s):
        return False
    if one.outputs is None or other.outputs is None:
        return one.outputs is other.outputs
    return one.outputs.keys() == other.outputs.keys() and all(
        one.outputs[name].dtype == array.dtype and one.outputs[name].shape == array.shape
        and np.array_equal(one.outputs[name], array, equal_nan=array.dtype.kind == "f")
        for name, array in other.outputs.items()
    )  # fmt: skip


def holds(file: AnswersFile, count: int) -> bool:
    kept = list(file.kept())
    return len(kept) == file.count == count and all(
        same(one, other) for number, pair in enumerate(kept) for one, other in zip(pair, answers(number))
    )


def filled(path: Path, count: int) -> Path:
    with AnswersFile(path, BELONGS_TO) as file:
        for number in range(count):
            file.append(*answers(number))
    return path


def test_what_was_answered_is_read_back_bit_by_bit_and_gone_on_from(tmp_path: Path) -> None:
    path = filled(tmp_path / "new" / "file", 5)
    assert path.stat().st_mode & 0o077 == 0
    with AnswersFile(path, BELONGS_TO) as file:
        assert holds(file, 5)
        assert (file.begun_anew, file.cut_bytes) == ((), 0)
        file.append(*answers(5))
        assert holds(file, 6)


def test_a_file_that_ends_at_any_byte_goes_on_with_its_whole_answers(tmp_path: Path) -> None:
    """As killed processes leave it: at every length there is, all that is whole is there and the rest is asked anew."""
    whole = filled(tmp_path / "whole", 4)
    content = whole.read_bytes()
    most = 0
    for size in range(len(content) + 1):
        path = tmp_path / "torn"
        path.write_bytes(content[:size])
        with AnswersFile(path, BELONGS_TO) as file:
            count = file.count
            assert holds(file, count)
            for number in range(count, 4):
                file.append(*answers(number))
        assert path.read_bytes() == content, size
        assert most <= count, size
        most = count
    assert most == 4


def test_zeros_at_the_end_and_altered_bytes_are_cut_away_with_what_follows(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole", 4)
    content = whole.read_bytes()
    rng = np.random.default_rng(7)
    for place in [*rng.integers(0, len(content), 60), None]:
        path = tmp_path / "altered"
        altered = bytearray(content)
        if place is None:
            altered += bytes(4096)
        else:
            altered[place] ^= 0x41
        path.write_bytes(altered)
        with AnswersFile(path, BELONGS_TO) as file:
            assert file.count < 4 or place is None
            assert holds(file, file.count)


def test_anything_that_changes_begins_it_anew_and_is_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "file", 3)
    with AnswersFile(path, {**BELONGS_TO, "the candidate": "another"}) as file:
        assert file.begun_anew == ("the candidate",)
        assert holds(file, 0)
        file.append(*answers(0))
    with AnswersFile(path, {**BELONGS_TO, "the candidate": "another"}, restart=True) as file:
        assert (file.begun_anew, file.count) == ((), 0)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with AnswersFile(tmp_path / "file", BELONGS_TO) as file:
        file.append(*answers(0))
        with pytest.raises(DataError, match="Another stopgap"), AnswersFile(tmp_path / "file", BELONGS_TO):
            pass
        assert holds(file, 1)


def test_a_folder_that_cannot_be_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError), AnswersFile(tmp_path / "file" / "below", BELONGS_TO):
        pass


APPENDING = """
import sys
import numpy as np
from pathlib import Path
from stopgap.asking.answers_file import AnswersFile
from stopgap.comparison.pairs import Answer
with AnswersFile(Path(sys.argv[1]), {"the data": "d"}) as file:
    for number in range(file.count, 10**9):
        file.append(Answer({"n": np.array(number)}), Answer({"n": np.arange(number % 500)}))
        if number % 20 == 0:
            print(file.count, flush=True)
"""


@pytest.mark.parametrize("run", range(3))
def test_a_killed_process_loses_nothing_that_it_had_kept(tmp_path: Path, run: int) -> None:
    path = tmp_path / "file"
    said = 0
    for _ in range(2):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", APPENDING, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            said = max(said, int(process.stdout.readline()))
            time.sleep(0.01 * run)
            process.send_signal(signal.SIGKILL)
            said = max([said, *map(int, process.stdout.read().split())])
        with AnswersFile(Path(shutil.copy(path, tmp_path / "copy")), {"the data": "d"}) as file:
            assert file.count >= said
            numbers = [int((legacy.outputs or {})["n"]) for legacy, _ in file.kept()]
        assert numbers == list(range(len(numbers)))


def test_each_candidate_counts_once_for_the_same_data(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert [candidates_tried(folder, "data", name) for name in ("a", "b", "a", "c", "b")] == [1, 2, 2, 3, 3]
    assert candidates_tried(folder, "other", "c") == 1


def test_a_count_that_was_being_written_when_the_power_failed_loses_only_that(tmp_path: Path) -> None:
    candidates_tried(tmp_path, "data", "aaaa")
    file = tmp_path / "data.candidates"
    file.write_text("aaaa\nbb")
    assert candidates_tried(tmp_path, "data", "cccc") == 2
    assert file.read_text() == "aaaa\ncccc\n"
