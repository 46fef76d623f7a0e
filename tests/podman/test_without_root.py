"""Podman without root: it may only be used where it holds what is promised, and on cgroup v1 it holds no limit."""

from __future__ import annotations

from pathlib import Path

import pytest
from stopgap.engines.docker import connect
from stopgap.errors import EngineError

pytestmark = [pytest.mark.podman, pytest.mark.thorough]


@pytest.mark.skipif(Path("/sys/fs/cgroup/cgroup.controllers").exists(), reason="cgroup v2: Podman may hold its limits")
def test_on_cgroup_v1_it_is_refused_before_anything_is_started(podman_without_root: Path) -> None:
    with pytest.raises(EngineError, match="runs without root, and so holds no limit") as refused:
        connect({"DOCKER_HOST": f"unix://{podman_without_root}"})
    assert "--engine bubblewrap" in refused.value.remedy
