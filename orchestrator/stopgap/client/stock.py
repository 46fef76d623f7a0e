"""The messages of tensorflow-serving-api, for those who have them; what they load is used, and nothing is imported."""

from __future__ import annotations

import sys
from typing import Any, Final

from google.protobuf.message import Message

from stopgap.client.status import INVALID_ARGUMENT
from stopgap.errors import PredictionError

__all__ = ["response_class"]

# TF Serving's own, and ours, which are the same on the wire.
_REQUESTS: Final = frozenset({"tensorflow.serving.PredictRequest", "stopgap.wire.PredictRequest"})


def response_class(request: object) -> type[Message]:
    """The `PredictResponse` that was generated beside the class of this `PredictRequest`.

    Raises:
        PredictionError: INVALID_ARGUMENT; it is something else, or its class stands alone.
    """
    if _full_name(request) not in _REQUESTS:
        what = _full_name(request) or type(request).__name__
        raise PredictionError(
            f"A {what} is no PredictRequest of TF Serving's.",
            INVALID_ARGUMENT,
            "Make one with tensorflow_serving.apis.predict_pb2.PredictRequest().",
        )
    module = type(request).__module__
    found = getattr(sys.modules.get(module), "PredictResponse", None)
    if not (isinstance(found, type) and issubclass(found, Message)):
        raise PredictionError(
            f"There is no PredictResponse in {module!r}, where this PredictRequest comes from.",
            INVALID_ARGUMENT,
            "Take both from one generated module, such as tensorflow_serving.apis.predict_pb2.",
        )
    return found


def _full_name(request: Any) -> str:
    return str(request.DESCRIPTOR.full_name) if isinstance(request, Message) else ""
