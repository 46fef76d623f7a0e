"""The mechanisms that can hold a container's limits, by name. Few imports: every monitor has this in memory."""

from __future__ import annotations

from stopgap.engines.cgroups import CGROUP_V1, CGROUP_V2, CgroupV1, CgroupV2, Mechanism, hierarchies
from stopgap.engines.systemd_scope import SCOPE, Scope

__all__ = ["mechanism"]


def mechanism(name: str, group: str, place: str = "") -> Mechanism:
    """The one of that name, for the container whose group is called `group`.

    Args:
        place: What another process that used it found out, and left in its `place`.
    """
    if name == CGROUP_V2:
        return CgroupV2(group, tuple(hierarchies()))
    if name == CGROUP_V1:
        return CgroupV1(group, tuple(hierarchies()))
    if name == SCOPE:
        return Scope(group, tuple(hierarchies()), place)
    return Mechanism(group)
