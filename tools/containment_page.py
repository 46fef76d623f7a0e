"""docs/containment.md, from the table of promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from stopgap.containment.promises import LIMITS, LIVES, WALLS, Answer, Held, Limit, Promise

from tools.markdown import table

__all__ = ["page", "rows"]

Row = Union[Promise, Limit]

PROMISED = ("Promise", "Docker", "Docker with gVisor", "Podman", "bubblewrap, root", "bubblewrap, user")
AS_DOCKER = "as Docker"

HEAD = """\
# What containment promises

<!-- `make docs` writes this page from orchestrator/stopgap/containment/promises.py. Change that, not this. -->

A SavedModel is a program, and TensorFlow 1.15 gets no security fixes. So a sandbox is built as if the model in it were
hostile, and a front as if its callers were. This page says, promise by promise, what keeps it on which engine; where
nothing does, it says **not promised**, and what there is instead.

The hostile part of a sandbox is its workers, which read the model and the requests. Before a worker loads the model, it
gives up every system call that inference does not need. Where that alone stands between a model and something, this
page says so: then one wall is left where elsewhere there are two.

[`stopgap audit NAME`](audit.md) holds a running sandbox against this page, line by line.
"""

WALLS_TEXT = """\
## Walls

**For a model whose origin you do not know, take `stopgap serve --isolation gvisor`**: between it and the host's kernel
stands another, which was written for that. It is slower: every system call costs more. The front stays where it is. It
takes Docker and [gVisor's runsc](https://gvisor.dev), which `stopgap doctor` says how to register.

bubblewrap has two ways. A sandbox of root's has a uid of its own in the kernel; that of a user without rights has a
user namespace.
"""

LIMITS_TEXT = """\
## Limits

What holds them depends on the machine. `stopgap serve` and `stopgap status` name it: `cgroup v1` and `cgroup v2` are
Docker's, or the control groups that bubblewrap's monitor makes as root; `systemd scope` is what a user gets whose own
systemd may limit memory and tasks; `rlimits` is what is left where there is neither.
"""

LIVES_TEXT = """\
## Its life
"""

FRONT_TEXT = """\
## What is otherwise for a front

Envoy reads requests, but no models, and it faces the network. All of the above holds for it too, but for this:
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            WALLS_TEXT,
            *table(PROMISED, map(of_promise, WALLS)),
            "",
            LIMITS_TEXT,
            *table(("Limit", *PROMISED[1:4], "control groups", "systemd scope", "rlimits"), map(of_limit, LIMITS)),
            "",
            LIVES_TEXT,
            *table(PROMISED, map(of_promise, LIVES)),
            "",
            FRONT_TEXT,
            *(f"- *{row.what}.* {row.front}" for row in rows() if row.front),
            "",
        ]
    )


def rows() -> tuple[Row, ...]:
    """All, in the page's order."""
    return (*WALLS, *LIMITS, *LIVES)


def of_promise(row: Promise) -> Sequence[str]:
    """Its cells."""
    return row.what, *(written(answer) for answer in (row.docker, row.gvisor, row.podman, row.root, row.user))


def of_limit(row: Limit) -> Sequence[str]:
    """Its cells."""
    answers = (row.docker, row.gvisor, row.podman, row.groups, row.scope, row.rlimits)
    return row.what, *(written(answer) for answer in answers)


def written(answer: Answer | None) -> str:
    """For people."""
    if answer is None:
        return AS_DOCKER
    return answer.by if isinstance(answer, Held) else f"**not promised**: {answer.but}"
