"""A request's inputs as a person keeps them: an .npz of arrays, or JSON. What is in a file, not whether it fits."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stopgap.client.npz import is_npz, read_npz
from stopgap.client.signatures import Signature
from stopgap.client.status import INVALID_ARGUMENT
from stopgap.errors import PredictionError

__all__ = ["RequestFile", "bytes_or_object", "parse_request"]


@dataclass(frozen=True)
class RequestFile:
    """What a request's file holds.

    Args:
        values: By the inputs' names; a single value under "inputs" where the file leaves out the only input's name.
        signature: The name that the file asks for, "" if it does not.
    """

    values: Mapping[str, object]
    signature: str = ""

    def for_inputs_of(self, signature: Signature) -> Mapping[str, object]:
        """The values by the signature's names: TF Serving's `{"inputs": value}` stands for its only input."""
        only = list(signature.inputs)
        if self.values.keys() == {"inputs"} and len(only) == 1:
            return {only[0]: self.values["inputs"]}
        return self.values


def parse_request(content: bytes, origin: str) -> RequestFile:
    """The inputs in a file's content, which is an .npz or JSON: `{"inputs": {name: value}}` or `{name: value}`.

    Args:
        content: The file.
        origin: What to call it in an error.

    Raises:
        PredictionError: INVALID_ARGUMENT; it is neither.
    """
    if is_npz(content):
        return RequestFile(read_npz(content, origin))
    return _document(content, origin)


def _document(content: bytes, origin: str) -> RequestFile:
    try:
        document = json.loads(content, object_hook=bytes_or_object)
    except (ValueError, RecursionError) as error:
        raise _unusable(f"{origin} is neither an .npz nor JSON: {error}.") from error
    if not isinstance(document, dict):
        raise _unusable(
            f"The JSON in {origin} is not an object of inputs.",
            'Write {"inputs": {"NAME": VALUE, …}} or {"NAME": VALUE}.',
        )
    if "inputs" not in document or not document.keys() <= {"inputs", "signature_name"}:
        return RequestFile(document)
    inputs, signature = document["inputs"], document.get("signature_name", "")
    if not isinstance(signature, str):
        raise _unusable(f"The signature_name in {origin} is not a text.")
    return RequestFile(inputs if isinstance(inputs, dict) else {"inputs": inputs}, signature)


def bytes_or_object(given: dict[str, Any]) -> object:
    """`{"b64": "…"}` is TF Serving's way to write bytes."""
    if given.keys() != {"b64"} or not isinstance(given["b64"], str):
        return given
    try:
        return base64.b64decode(given["b64"], validate=True)
    except binascii.Error as error:
        raise ValueError(f'"b64": {given["b64"][:40]!r} is not base64') from error


def _unusable(problem: str, remedy: str = "") -> PredictionError:
    return PredictionError(problem, INVALID_ARGUMENT, remedy)
