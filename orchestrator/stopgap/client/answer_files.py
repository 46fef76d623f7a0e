"""A model's outputs as a person reads them: plain numbers and texts, and JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import numpy as np

from stopgap.client.signatures import TensorSpec
from stopgap.client.values import widened

__all__ = ["readable", "to_json"]


def to_json(outputs: Mapping[str, np.ndarray]) -> str:
    """`{"outputs": {name: value}}`, columnar as TF Serving's; bytes that are not text as `{"b64": …}`.

    A complex number is a pair; NaN and the infinities are the bare words that Python's and TF Serving's JSON have.
    """
    return json.dumps({"outputs": {name: _plain(array) for name, array in outputs.items()}})


def readable(outputs: Mapping[str, np.ndarray], specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    """The outputs with bfloat16 as numbers instead of bits."""
    dtypes = {name: specs[name].dtype if name in specs else None for name in outputs}
    return {name: widened(array, dtype) if (dtype := dtypes[name]) else array for name, array in outputs.items()}


def _plain(array: np.ndarray) -> object:
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1).tolist()
    return _texts(array.tolist()) if array.dtype.kind == "O" else array.tolist()


def _texts(value: object) -> object:
    if isinstance(value, list):
        return [_texts(inner) for inner in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode("ascii")}
