"""What is asked, and what both models say to it: what those who ask and those who judge have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Case", "Failure", "Pair", "Tensors"]

# By name; strings as arrays of bytes objects.
Tensors = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Case:
    """One request, as the data hold it.

    Attributes:
        number: Its place in the data, from 0.
        inputs: By the legacy model's names, whole batches as they are sent.
        signature: Of the legacy model.
        key: What it is a unit of: a user, say. Empty: the inputs' own digest is the key.
        extras: What the data hold beside the inputs: labels, and what one may slice by. Shape [rows, …] each, or [].
    """

    number: int
    inputs: Tensors
    signature: str = "serving_default"
    key: str = ""
    extras: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why there are no outputs.

    Attributes:
        code: A gRPC status code's name, `INVALID_ARGUMENT` say.
        text: The model's own, hostile until it is made printable.
    """

    code: str
    text: str


@dataclass(frozen=True)
class Answer:
    """What one model says to one case: outputs or a failure.

    Attributes:
        outputs: By the model's own names; None where it failed.
        latency_s: From the request to the answer; None where it is not known, as in a recording.
    """

    outputs: Optional[Tensors] = None  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    failure: Optional[Failure] = None  # noqa: UP045
    latency_s: Optional[float] = None  # noqa: UP045


@dataclass(frozen=True)
class Pair:
    """One case, and what both models say to it."""

    case: Case
    legacy: Answer
    candidate: Answer
