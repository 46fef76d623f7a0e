"""Which engine a command uses."""

from __future__ import annotations

from stopgap.engines.docker import connect
from stopgap.engines.protocol import Engine
from stopgap.errors import EngineError

__all__ = ["CHOICES", "chosen"]

CHOICES = ("auto", "docker")


def chosen(name: str = "auto") -> Engine:
    """The engine of that name; with `auto` the first that answers.

    Raises:
        EngineError: It does not answer.
    """
    if name not in CHOICES:
        raise EngineError(f"There is no engine {name!r}.", f"There are: {', '.join(CHOICES)}.")
    return connect()
