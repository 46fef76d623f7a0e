"""From what somebody writes about an answer, one JSON object, to feedback; strangers may write it. Pure."""

from __future__ import annotations

import json
from typing import Any

from stopgap.errors import DataError
from stopgap.ledger.book import Feedback
from stopgap.ledger.entries import identity_of
from stopgap.printable import printable

__all__ = ["LARGEST_BYTES", "feedback_in"]

LARGEST_BYTES = 2048
LONGEST_LABEL = 64
FIELDS = {"id", "reward", "label"}
EXAMPLE = '{"id": "0b866e72-4c26-4914-ae3d-eb6e68b0fbfa", "reward": 0.7}'


def feedback_in(content: bytes) -> Feedback:
    """
    Raises:
        DataError: It is none; says in what.
    """
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError("That is no JSON.", f"Write {EXAMPLE}") from error
    require(isinstance(fields, dict), "That is no JSON object.")
    unknown = sorted(fields.keys() - FIELDS)
    require(not unknown, f"There is no field {printable(', '.join(unknown), 100)}.")
    identity = identity_of(fields["id"]) if isinstance(fields.get("id"), str) else None
    if identity is None:
        raise DataError('"id" must be what an answer has in its header stopgap-request-id.', f"Write {EXAMPLE}")
    reward, label = reward_in(fields.get("reward")), label_in(fields.get("label"))
    require(reward is not None or label is not None, 'There is neither "reward" nor "label".')
    return Feedback(identity, reward, label)


def reward_in(value: Any) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    require(is_number and 0 <= value <= 1, '"reward" must be a number from 0 to 1: 1 where the answer was right.')
    return float(value)


def label_in(value: Any) -> str | None:
    if value is None:
        return None
    is_label = isinstance(value, (str, int)) and not isinstance(value, bool)
    text = str(value) if is_label and (isinstance(value, str) or abs(value) < 10**LONGEST_LABEL) else ""
    require(
        0 < len(text) <= LONGEST_LABEL and text.isprintable(),
        f'"label" must be a text of at most {LONGEST_LABEL} characters, or a whole number.',
    )
    return text


def require(holds: bool, problem: str) -> None:
    if not holds:
        raise DataError(problem, f"Write {EXAMPLE}")
