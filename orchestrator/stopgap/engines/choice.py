"""Which engine a deployment has, and which one a new one gets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stopgap.engines import bubblewrap, docker
from stopgap.engines.protocol import Engine
from stopgap.errors import EngineError

__all__ = ["AUTO", "CHOICES", "Choice", "Engines", "option_for"]

AUTO = "auto"
DOCKER = "docker"
BUBBLEWRAP = "bubblewrap"
CHOICES = (AUTO, DOCKER, BUBBLEWRAP)


@dataclass(frozen=True)
class Choice:
    """An engine that works here, and why it is this one: a sentence for a person."""

    engine: Engine
    why: str


class Engines:
    """The engines of this machine, each asked for the first time when it is needed.

    Args:
        state: The state folder: what bubblewrap runs is remembered there.
    """

    def __init__(self, state: Path) -> None:
        self._connect: dict[str, Callable[[], Engine]] = {
            DOCKER: docker.connect,
            BUBBLEWRAP: lambda: bubblewrap.connect(state),
        }
        # What runs already can be looked at and ended also where nothing new could be started.
        self._reach: dict[str, Callable[[], Engine]] = {
            DOCKER: self._connect[DOCKER],
            BUBBLEWRAP: lambda: bubblewrap.BubblewrapEngine(state),
        }
        self._reached: dict[str, Engine] = {}

    def named(self, name: str) -> Engine:
        """The engine on which a deployment runs.

        Raises:
            EngineError: It does not answer, or another does in its place.
        """
        option = option_for(name)
        if option not in self._reached:
            self._reached[option] = self._reach[option]()
        return checked(self._reached[option], name)

    def answering(self) -> tuple[Engine, ...]:
        """Those that can be asked now what runs on them."""
        for option, reach in self._reach.items():
            with contextlib.suppress(EngineError):
                self._reached.setdefault(option, self._reached.get(option) or reach())
        return tuple(self._reached.values())

    def choose(self, wanted: str, joined: str | None) -> Choice:
        """The engine for a new deployment.

        Args:
            wanted: One of `CHOICES`.
            joined: The engine of the front that it joins, if there is one.

        Raises:
            EngineError: The wanted one does not work here, or with `auto` none does; says why of each.
        """
        if wanted not in CHOICES:
            raise EngineError(f"There is no engine {wanted!r}.", f"There are: {', '.join(CHOICES)}.")
        if wanted != AUTO:
            return Choice(self._connect[wanted](), "as asked for")
        if joined:
            return Choice(checked(self._connect[option_for(joined)](), joined), "its front runs there")
        return self._first_that_works()

    def _first_that_works(self) -> Choice:
        refusals: list[EngineError] = []
        for connect in self._connect.values():
            try:
                engine = connect()
            except EngineError as refusal:
                refusals.append(refusal)
                continue
            why = refusals[0].problem if refusals else "it answers; --engine bubblewrap does without it"
            return Choice(engine, why.rstrip("."))
        raise EngineError(
            "No engine works here. " + " ".join(refusal.problem for refusal in refusals),
            "One of the two is enough:\n" + "\n".join(refusal.remedy for refusal in refusals),
        )


def option_for(name: str) -> str:
    """What `--engine` calls an engine of that name: Podman is reached as Docker is."""
    return name if name == BUBBLEWRAP else DOCKER


def checked(engine: Engine, name: str) -> Engine:
    """`engine`, which must be the one of that name: Docker and Podman may both be there, and answer in turn."""
    if engine.name != name:
        raise EngineError(
            f"This runs on {name}, but what answers now is {engine.name}.",
            f"Lead stopgap to {name}'s socket: DOCKER_HOST=unix:///PATH",
        )
    return engine
