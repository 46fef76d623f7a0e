"""What is asked of the model that divides, what it must answer, and what harms it. See `tests.graphs.remainder`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from stopgap.client.tensors import to_proto
from stopgap_protos.serving_pb2 import PredictRequest

__all__ = ["VARIETY", "bomb", "innocent", "poison", "remainders"]

# So many requests, each with another answer: an answer that went to the wrong caller would be seen.
VARIETY: Final = 64
_DIVISOR: Final = 1009
_LEAST: Final = -(2**31)
_TOO_MANY: Final = 2**31  # floats: 8 GiB


def innocent(model: str, number: int) -> PredictRequest:
    """The one of that number, of `VARIETY`."""
    return _asked(model, _dividends(number), np.full(8, _DIVISOR, np.int32))


def remainders(number: int) -> list[int]:
    """What that one gives."""
    return [int(each) % _DIVISOR for each in _dividends(number)]


def poison(model: str, number: int) -> PredictRequest:
    """Ends whoever runs it; each number in other bytes."""
    return _asked(model, np.array([_LEAST, number], np.int32), np.array([-1, 1], np.int32))


def bomb(model: str) -> PredictRequest:
    """Asks for more memory than there is."""
    request = PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "fill"
    request.inputs["n"].CopyFrom(to_proto(np.array(_TOO_MANY, np.int64)))
    return request


def _dividends(number: int) -> NDArray[np.int32]:
    return np.arange(number * 7919, number * 7919 + 8, dtype=np.int32)


def _asked(model: str, x: NDArray[np.int32], y: NDArray[np.int32]) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(to_proto(x))
    request.inputs["y"].CopyFrom(to_proto(y))
    return request
