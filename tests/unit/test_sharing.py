"""What a shared sandbox is given of a machine."""

from __future__ import annotations

from stopgap.api.sharing import fitting
from stopgap.engines.protocol import EngineLimits
from stopgap.settings import Limits


def test_a_small_machine_gives_what_it_has_but_memory_that_was_asked_for_stays() -> None:
    small = EngineLimits(cpus=1, memory_mib=1024, machine="x86_64", system="linux", shares_host_network=True)
    assert fitting(Limits(workers=3), small) == Limits(memory_mib=1024, cpus=1.0, workers=3)
    assert fitting(Limits(memory_mib=4096), small) == Limits(memory_mib=4096, cpus=1.0)
    assert fitting(Limits(memory_mib=256, cpus=0.5), small) == Limits(memory_mib=256, cpus=0.5)
