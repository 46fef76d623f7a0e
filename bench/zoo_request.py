"""The one request that every path of the benchmark gets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from stopgap.client.tensors import to_proto
from stopgap_protos.serving_pb2 import PredictRequest

Arrays = Mapping[str, NDArray[np.generic]]


def example_inputs(model: Path) -> dict[str, NDArray[np.generic]]:
    """The first golden case's inputs with a batch of one."""
    golden = np.load(model / "golden.npz", allow_pickle=False)
    inputs = {key.removeprefix("in."): golden[key] for key in golden.files if key.startswith("in.")}
    return {name: array[:1] for name, array in inputs.items()}


def predict_request(name: str, inputs: Arrays) -> bytes:
    """A serialised PredictRequest for the model of that name."""
    request = PredictRequest()
    request.model_spec.name = name
    for alias, array in inputs.items():
        request.inputs[alias].CopyFrom(to_proto(array))
    return request.SerializeToString()
