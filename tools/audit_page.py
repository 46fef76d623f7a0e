"""docs/audit.md, from the tables of what an audit looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stopgap.audit.bubblewrap_settings import OF_BUBBLEWRAP
from stopgap.audit.docker_settings import OF_DOCKER
from stopgap.audit.effects import EFFECTS, EXHAUSTION, Effect
from stopgap.audit.outside import Setting
from stopgap.audit.process_settings import OF_PROCESSES
from stopgap.audit.watching import WATCH_S

from tools.markdown import table

__all__ = ["page"]

HEAD = f"""\
# stopgap audit

<!-- `make docs` writes this page from orchestrator/stopgap/audit/. Change that, not this. -->

    stopgap audit NAME

asks whether the walls around a model stand, now, on this machine. It looks at the sandbox from outside, tries from
inside what must not work, and uses up what has a limit in a twin. Each line is held against a row of
[what containment promises](containment.md):

- **held**: it is as promised, or better.
- **BROKEN**: it is promised and not so. Then the exit code is 3, and the sandbox is not to be relied on.
- **not promised here**: it is open, and the table says so for this engine.
- **UNKNOWN**: it was to be looked at or tried, and could not be: its processes were gone, say, or this machine has too
  little memory free. Then, where nothing is BROKEN, the exit code is 4.
- **not tried**: it can never be seen from here on this engine, or trying it could harm others. It does not count.

Exit code 0 says that nothing is BROKEN or UNKNOWN, 1 that there could be no audit. Below the lines stand the age of the
TensorFlow that runs, counted from its release, and the days to the sunset. `--json` gives all of it to programs.

## Settings and effects

A *setting* is what the engine and this machine's kernel tell from outside. Nothing in a sandbox can forge it. It says
how a wall was built, not whether it is thick enough. A worker that is being born has not yet given up what it is to
give up. So before something is said against a sandbox's processes they are looked at for {WATCH_S:g} seconds, and then
only those count that were there all the time.

While a model [is not run because its workers died too often](limits-and-errors.md#limits-that-are-fixed), everybody is
turned away by processes that load no model. They have the limits of a worker, so what a sandbox says of itself excuses
nothing.

An *effect* is what an attempt from inside comes to. The runtime's parent forks a probe as it forks a worker, with the
same descriptors and the same filter of system calls; the probe tries, says how it went, and ends. A sandbox that has
been taken over, parent included, could lie here. So what it says is read as hostile input, and both kinds are listed
apart. To take over the parent somebody must have broken through a worker's filter before, which the lines on settings
would not show either: an audit says that the walls stand, and not that nobody has climbed over.

## Two layers

Each attempt is made twice: with a worker's rights, which is what a model meets, and without a worker's filter, as the
parent's own user within the sandbox. So a line can say which layer holds:

- **the wall**: it is refused without a worker's filter too. Whether that filter refuses it as well is not to be seen
  then, since the other would answer in its place.
- **a worker's filter alone**: one layer is left. Where the table promises the wall, the line is BROKEN, even though the
  filter holds; where the table says that only a worker's filter stands before it, the line is held.

An attempt is refused by an error that a wall or a filter gives. One that says *invalid argument*, say, means that the
kernel has looked at the call, and counts as open. Nothing that is tried does harm where it works: files are taken away
again, nobody is signalled or stopped.

## Who is served meanwhile

The probe runs at the lowest priority, ends within seconds, and is killed if it does not. What exhausts is not tried in
the live sandbox at all but in a *twin*: a second one of the same make, by which nobody is served. Its settings are
compared with the live one's first, so that what holds for it holds for both. It loads the model once more and needs as
much memory as that takes; what fills the memory is left out where this machine has not that much free. The twin is
taken away whatever happens. Where `stopgap` itself is killed in the middle, `stopgap status` shows what is left as
`audit-NAME`, and `stopgap stop audit-NAME` or the next audit takes it away. `--no-twin` leaves it out.
"""

FROM_OUTSIDE = """\
## What is looked at from outside

Of the sandbox's processes, for every engine, where this machine sees them:
"""

FROM_INSIDE = """\
## What is tried from inside

A *yes* says that a worker's filter must refuse it, whatever the wall does.
"""

IN_A_TWIN = """\
## What is used up in a twin

Where the table promises no such limit, it is not tried: nothing would stop it.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            FROM_OUTSIDE,
            *settings(OF_PROCESSES),
            "",
            "By Docker, as `docker inspect` has them:",
            "",
            *settings(OF_DOCKER),
            "",
            "By bubblewrap, as the kernel has them:",
            "",
            *settings(OF_BUBBLEWRAP),
            "",
            FROM_INSIDE,
            *table(
                ("Name", "What is tried: to …", "Promise", "Filter"),
                ((f"`{each.name}`", each.what, each.promise, "yes" if each.filtered else "") for each in EFFECTS),
            ),
            "",
            IN_A_TWIN,
            *effects(EXHAUSTION),
            "",
        ]
    )


def settings(rows: Iterable[Setting]) -> Iterator[str]:
    """A table of them."""
    return table(("Name", "Setting", "Promise"), ((f"`{each.name}`", each.what, each.promise) for each in rows))


def effects(rows: Iterable[Effect]) -> Iterator[str]:
    """Likewise."""
    return table(("Name", "What is tried: to …", "Promise"), ((f"`{row.name}`", row.what, row.promise) for row in rows))
