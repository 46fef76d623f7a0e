"""A gRPC server with one small model of every kind of input: what the client's tests talk to over a real connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from stopgap_protos import tensor_pb2
from stopgap_protos.saved_model_pb2 import SignatureDef, TensorInfo
from stopgap_protos.serving_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)
from stopgap_protos.tensor_pb2 import TensorProto, TensorShapeProto

__all__ = ["MODEL", "serving"]

MODEL = "zoo"

_ANY_BATCH = (-1,)
_SIGNATURES: dict[str, dict[str, tuple[tensor_pb2.DataType, tuple[int, ...]]]] = {
    "serving_default": {"image": (tensor_pb2.DT_FLOAT, (-1, 2)), "label": (tensor_pb2.DT_STRING, _ANY_BATCH)},
    "one": {"x": (tensor_pb2.DT_INT32, _ANY_BATCH)},
    "narrow": {"b": (tensor_pb2.DT_BFLOAT16, _ANY_BATCH), "q": (tensor_pb2.DT_QUINT8, _ANY_BATCH)},
    "file": {"file": (tensor_pb2.DT_BOOL, _ANY_BATCH)},
}


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server whose model gives every input back as the output of its name."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 64 * 2**20)])
    prediction = {
        "Predict": _handler(_predict, PredictRequest),
        "GetModelMetadata": _handler(_metadata, GetModelMetadataRequest),
    }
    model = {"GetModelStatus": _handler(_status, GetModelStatusRequest)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", prediction),
            grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", model),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _handler(answer: Callable[..., Message], request: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=request.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


def _predict(request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
    if request.model_spec.name != MODEL:
        context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({request.model_spec.name})")
    if request.model_spec.version.value == 13:
        context.abort(grpc.StatusCode.INTERNAL, "worn out \x1b[31m")
    inputs = _SIGNATURES[request.model_spec.signature_name]
    response = PredictResponse(model_spec=request.model_spec)
    for name, tensor in request.inputs.items():
        if tensor.dtype != inputs[name][0]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name} has the data type {tensor.dtype}")
        if not request.output_filter or name in request.output_filter:
            response.outputs[name].CopyFrom(tensor)
    if request.model_spec.version.value == 14:
        response.outputs["broken"].CopyFrom(TensorProto(dtype=tensor_pb2.DT_RESOURCE))
    return response


def _metadata(request: GetModelMetadataRequest, context: grpc.ServicerContext) -> GetModelMetadataResponse:
    if request.model_spec.name != MODEL or list(request.metadata_field) != ["signature_def"]:
        context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({request.model_spec.name})")
    signatures = SignatureDefMap()
    for name, tensors in _SIGNATURES.items():
        infos = {tensor: _info(dtype, shape) for tensor, (dtype, shape) in tensors.items()}
        signatures.signature_def[name].CopyFrom(SignatureDef(inputs=infos, outputs=infos))
    response = GetModelMetadataResponse(model_spec=request.model_spec)
    response.metadata["signature_def"].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    response.metadata["signature_def"].value = signatures.SerializeToString()
    return response


def _status(request: GetModelStatusRequest, context: grpc.ServicerContext) -> GetModelStatusResponse:
    if request.model_spec.name != MODEL:
        name = request.model_spec.name
        context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
    available = ModelVersionStatus(version=1, state=ModelVersionStatus.AVAILABLE)
    return GetModelStatusResponse(model_version_status=[available])


def _info(dtype: tensor_pb2.DataType, shape: tuple[int, ...]) -> TensorInfo:
    dims = [TensorShapeProto.Dim(size=size) for size in shape]
    return TensorInfo(name="unused:0", dtype=dtype, tensor_shape=TensorShapeProto(dim=dims))
