"""One of the two that are compared: whatever answers to a case, and how it is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Optional, Protocol

from stopgap.client.signatures import Signature
from stopgap.comparison.document import UNPINNED, Party
from stopgap.comparison.pairs import Answer, Case
from stopgap.comparison.plan import Plan
from stopgap.errors import ComparisonError
from stopgap.printable import printable

__all__ = ["Identity", "Question", "Side", "check_outputs", "party_of"]

# Asks; takes the seconds until the deadline. Any thread may call it.
Question = Callable[[float], Answer]


@dataclass(frozen=True)
class Identity:
    """What answers, as far as it can be known.

    Attributes:
        told: What it is, in a sentence.
        digest: SHA-256 of the model's files, or of the recording; None where nobody can know: it is unpinned.
        state: Differs whenever something is known to be different that may decide an answer.
        served: See `served_as`; None where nobody can know.
    """

    told: str
    digest: Optional[str]  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    state: str
    served: Optional[str] = None  # noqa: UP045

    @property
    def pin(self) -> str:
        """The digest, or that there is none."""
        return self.digest or "unpinned"


class Side(Protocol):
    """What answers to cases. Whoever opened it closes it."""

    def identity(self) -> Identity:
        """As it is now: asked at the beginning and at the end.

        Raises:
            StopgapError: It is not there any more.
        """

    def signatures(self) -> Mapping[str, Signature]:
        """By name; empty where nobody can know them.

        Raises:
            StopgapError: It cannot be asked for them.
        """

    def changes_state(self, signature: str) -> bool:
        """Whether what it answers is known to depend on what was asked before."""

    def question(self, case: Case) -> Question:
        """What is to be asked. To be called by one thread, for every case of the data in their order.

        Raises:
            DataError: A recording has no answer to this case.
        """

    def is_there(self) -> bool:
        """Whether anybody answers, whatever it says."""

    def close(self) -> None:
        """Ends what was begun for it."""


def party_of(identity: Identity) -> Party:
    """As a comparison's document has it."""
    return Party(identity.told, identity.pin, identity.served or UNPINNED)


def check_outputs(plan: Plan, legacy: Side) -> None:
    """
    Raises:
        ComparisonError: The plan judges an output that the legacy model is known not to have.
    """
    known = {name for signature in legacy.signatures().values() for name in signature.outputs}
    missing = sorted({each.output for each in plan.conditions if each.output} - known)
    if known and missing:
        raise ComparisonError(
            f"The legacy model has no output {', '.join(map(printable, missing))}.",
            f"It has: {', '.join(map(printable, sorted(known)))}.",
        )
