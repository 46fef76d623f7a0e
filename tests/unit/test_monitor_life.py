"""What a monitor waits for while a container prints faster than it is read."""

from __future__ import annotations

import itertools
import math

import pytest
from stopgap.engines.monitor.life import Life

TOLD, OUTPUT = 3, 4


@pytest.mark.parametrize("read_again_at", [0.0, 1.0, 1.5, 2.0, 3.0])
def test_an_output_is_always_waited_for_by_a_descriptor_or_by_the_clock(
    monkeypatch: pytest.MonkeyPatch, read_again_at: float
) -> None:
    """Also when the pause ends while it is being asked: then the clock must not be looked at twice."""
    printing = Life.__new__(Life)
    printing._heard = dict.fromkeys((TOLD, OUTPUT), lambda _: True)
    printing._output, printing._is_to_end, printing._reads_output_at = OUTPUT, False, read_again_at
    ticks = itertools.count(1)
    monkeypatch.setattr("stopgap.engines.monitor.life.time.monotonic", lambda: float(next(ticks)))
    descriptors, pause_s = printing.awaited()
    assert TOLD in descriptors
    assert (OUTPUT in descriptors) == (pause_s == math.inf)
