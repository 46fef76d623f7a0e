"""A person presses Ctrl-C while both models hang: it ends at once, and goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

SERVING = """
import time
from tests.serving_server import serving
with serving() as address:
    print(address, flush=True)
    time.sleep(600)
"""
ASKING = """
import sys
from pathlib import Path
from stopgap.asking.answers_file import AnswersFile
from stopgap.asking.asking import Manner, asked
from stopgap.asking.data.opening import open_data
from stopgap.asking.data.reading import Reading
from stopgap.asking.live import LiveSide
from stopgap.asking.sides import Identity
from stopgap.client.channel import ServingChannel
from tests.serving_server import MODEL

address, data, kept = sys.argv[1:]
sides = [LiveSide(ServingChannel(address), MODEL, lambda: Identity("it", "it", "it")) for _ in range(2)]
read = open_data(Path(data), Reading(sides[0].signatures(), "one"))
try:
    with AnswersFile(Path(kept), {"the data": read.digest}) as answers:
        print("answered before:", answers.count, flush=True)
        for pair in asked(read, *sides, answers, Manner(in_flight=4, timeout_s=600)):
            assert pair.legacy.outputs["x"].tolist() == pair.case.inputs["x"].tolist() == [pair.case.number]
            print(pair.case.number, flush=True)
finally:
    for side in sides:
        side.close()
"""


@contextmanager
def program(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_it_ends_at_once_and_goes_on_with_the_first_case_that_nobody_has_answered(tmp_path: Path) -> None:
    data, kept = tmp_path / "data.npz", tmp_path / "kept"
    np.savez(data, x=np.arange(100_000, dtype=np.int32))
    with program(SERVING) as server:
        address = line_of(server)
        with program(ASKING, address, str(data), str(kept)) as asking:
            assert line_of(asking) == "answered before: 0"
            assert [line_of(asking) for _ in range(30)] == [str(number) for number in range(30)]
            server.send_signal(signal.SIGSTOP)
            time.sleep(0.3)  # until what is in flight hangs
            began = time.monotonic()
            asking.send_signal(signal.SIGINT)
            assert asking.stdout is not None
            assert asking.stderr is not None
            # Not communicate(): it does not know of the lines that readline() has taken in ahead.
            rest, complaint = asking.stdout.read(), asking.stderr.read()
            assert time.monotonic() - began < 5
            assert "KeyboardInterrupt" in complaint
        given = 30 + len(rest.split())
        server.send_signal(signal.SIGCONT)
        with program(ASKING, address, str(data), str(kept)) as asking:
            before = int(line_of(asking).rpartition(" ")[2])
            assert before in {given, given + 1}  # kept, but not yet given, in the moment of the interruption
            assert [line_of(asking) for _ in range(before + 30)] == [str(number) for number in range(before + 30)]
