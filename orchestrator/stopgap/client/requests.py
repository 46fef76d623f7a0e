"""Requests to a model, as messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from google.protobuf.wrappers_pb2 import Int64Value
from stopgap_protos.serving_pb2 import GetModelMetadataRequest, GetModelStatusRequest, ModelSpec, PredictRequest
from stopgap_protos.tensor_pb2 import TensorProto

from stopgap.client.signatures import Signature
from stopgap.client.tensors import to_proto

__all__ = ["metadata_request", "predict_request", "status_request"]


def predict_request(
    model: str,
    inputs: Mapping[str, np.ndarray],
    signature: Signature,
    outputs: Iterable[str] = (),
    version: int | None = None,
) -> PredictRequest:
    """A request to predict.

    Args:
        model: The model's name.
        inputs: Arrays of the inputs' own data types: what `Signature.fit` gives.
        signature: The signature to call.
        outputs: The outputs that are wanted; all, if none is named.
        version: The model's version; the newest, if none is named.
    """
    request = PredictRequest(model_spec=_model_spec(model, version), output_filter=outputs)
    request.model_spec.signature_name = signature.name
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(_tensor(array, signature, name))
    return request


def metadata_request(
    model: str, version: int | None = None, fields: Iterable[str] = ("signature_def",)
) -> GetModelMetadataRequest:
    """A request for the model's signatures, or for other fields of its metadata."""
    return GetModelMetadataRequest(model_spec=_model_spec(model, version), metadata_field=fields)


def status_request(model: str, version: int | None = None) -> GetModelStatusRequest:
    """A request for the state of the model's versions."""
    return GetModelStatusRequest(model_spec=_model_spec(model, version))


def _model_spec(model: str, version: int | None) -> ModelSpec:
    return ModelSpec(name=model, version=None if version is None else Int64Value(value=version))


def _tensor(array: np.ndarray, signature: Signature, name: str) -> TensorProto:
    dtype = signature.inputs[name].dtype
    return to_proto(array, None if dtype is None else dtype.number)
