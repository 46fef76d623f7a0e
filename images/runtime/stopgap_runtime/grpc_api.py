"""TF Serving's gRPC methods over the data plane: decode, ask, encode."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar, Union

from google.protobuf.message import DecodeError, Message
from stopgap_protos import serving_pb2 as pb
from stopgap_protos.unfolding import unfolded_bytes

from .descriptions import signatures_of, status_of, traits_of
from .faults import Code, Fault
from .given_signatures import tensor_info
from .large_contents import parted
from .predict import DataPlane, Prediction
from .servable import TENSORS
from .signatures import Signature
from .tensors import WireTensor, pieces
from .varints import length_delimited

__all__ = ["GrpcApi"]

_METADATA: Final[Mapping[str, Callable[[DataPlane, pb.ModelSpec], Message]]] = {
    "signature_def": signatures_of,
    "stopgap": traits_of,
}
_OUTPUTS_FIELD: Final = pb.PredictResponse.OUTPUTS_FIELD_NUMBER
_MODEL_SPEC_FIELD: Final = pb.PredictResponse.MODEL_SPEC_FIELD_NUMBER
_TENSOR: Final = "stopgap:tensor:"  # before the name of one of the graph's own tensors
_KEY_FIELD: Final = 1  # of every protobuf map entry
_VALUE_FIELD: Final = 2
_LARGEST_UNFOLDING: Final = 4  # as for JSON

Buffer = Union[bytes, memoryview]
Buffers = Sequence[Buffer]
_M = TypeVar("_M", bound=Message)


class GrpcApi:
    """Calls by their path; each takes the serialised request and gives the serialised answer in pieces."""

    def __init__(self, data_plane: DataPlane) -> None:
        self._data_plane = data_plane
        self._model_spec = functools.lru_cache(maxsize=256)(self._answering_spec)
        self._methods: Mapping[str, Callable[[memoryview, float | None], Buffers]] = {
            "/tensorflow.serving.PredictionService/Predict": self._predict,
            "/tensorflow.serving.PredictionService/GetModelMetadata": self._metadata,
            "/tensorflow.serving.ModelService/GetModelStatus": self._status,
        }

    def call(self, path: str, message: memoryview, timeout_s: float | None) -> Buffers:
        """Answers one call.

        Raises:
            Fault: Whatever went wrong, with gRPC's code.
        """
        method = self._methods.get(path)
        if method is None:
            served = ", ".join(name.rpartition("/")[2] for name in self._methods)
            raise Fault(Code.UNIMPLEMENTED, f"{path} is not served; stopgap serves {served}")
        return method(message, timeout_s)

    def _predict(self, message: memoryview, timeout_s: float | None) -> Buffers:
        request, contents = _asked(message, self._data_plane.largest_bytes)
        if not request.HasField("model_spec"):
            raise Fault(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        signature = self._signature(request)
        inputs = {
            alias: WireTensor(request.inputs[alias], alias, contents.get(alias)) for alias in sorted(request.inputs)
        }
        prediction = self._data_plane.predict(signature, inputs, request.output_filter, timeout_s)
        return self._encoded(prediction, request.model_spec.name)

    def _signature(self, request: pb.PredictRequest) -> Signature:
        if request.model_spec.signature_name == TENSORS:
            return self._data_plane.signature_of_tensors(request.model_spec, request.inputs, request.output_filter)
        return self._data_plane.signature(request.model_spec)

    def _encoded(self, prediction: Prediction, name: str) -> Buffers:
        """A PredictResponse, put together around the tensors' own bytes: they may be megabytes."""
        message: list[Buffer] = []
        for alias, tensor in prediction.outputs.items():
            value = pieces(tensor)
            message += (_output_entry(alias, sum(map(len, value))), *value)
        message.append(self._model_spec(name, prediction.signature.key))
        return message

    def _answering_spec(self, name: str, signature_key: str) -> bytes:
        """The field of a PredictResponse that says which model (as it was called), version and signature answered."""
        spec = pb.ModelSpec(name=name, signature_name=signature_key)
        spec.version.value = self._data_plane.version
        serialised = spec.SerializeToString()
        return length_delimited(_MODEL_SPEC_FIELD, len(serialised)) + serialised

    def _metadata(self, message: memoryview, _timeout_s: float | None) -> Buffers:
        request = _parsed(pb.GetModelMetadataRequest, message, self._data_plane.largest_bytes)
        if not request.metadata_field:
            raise Fault(Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field")
        if not request.HasField("model_spec"):
            raise Fault(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        response = pb.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = self._data_plane.version
        for field in request.metadata_field:
            described = self._described(request.model_spec, field)
            response.metadata[field].type_url = f"type.googleapis.com/tensorflow.serving.{described.DESCRIPTOR.name}"
            response.metadata[field].value = described.SerializeToString()
        return (response.SerializeToString(),)

    def _described(self, spec: pb.ModelSpec, field: str) -> Message:
        """What a metadata field asks for."""
        if field in _METADATA:
            return _METADATA[field](self._data_plane, spec)
        if field.startswith(_TENSOR):
            return tensor_info(self._data_plane.tensor(spec, field[len(_TENSOR) :]))
        raise Fault(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")

    def _status(self, message: memoryview, _timeout_s: float | None) -> Buffers:
        spec = _parsed(pb.GetModelStatusRequest, message, self._data_plane.largest_bytes).model_spec
        return (status_of(self._data_plane, spec).SerializeToString(),)


@functools.lru_cache(maxsize=1024)
def _output_entry(alias: str, size: int) -> bytes:
    """What stands before the `size` bytes of an output's TensorProto: its entry in the map, and its key."""
    name = alias.encode()
    key, value_header = length_delimited(_KEY_FIELD, len(name)) + name, length_delimited(_VALUE_FIELD, size)
    return length_delimited(_OUTPUTS_FIELD, len(key) + len(value_header) + size) + key + value_header


def _asked(message: memoryview, largest_bytes: int) -> tuple[pb.PredictRequest, Mapping[str, memoryview]]:
    """The request, and by alias what belongs into its tensors as `tensor_content`, where that is large."""
    parts = parted(message)
    if parts:
        request = _parsed(pb.PredictRequest, parts.message, largest_bytes)
        if len(request.inputs) == parts.inputs:
            return request, parts.contents
    return _parsed(pb.PredictRequest, message, largest_bytes), {}


def _parsed(kind: type[_M], message: Buffer, largest_bytes: int) -> _M:
    """The message, read only if it then takes no more memory than a JSON document may."""
    content, most = bytes(message), _LARGEST_UNFOLDING * largest_bytes
    if unfolded_bytes(kind, content, most) > most:
        raise Fault(
            Code.RESOURCE_EXHAUSTED,
            f"the request would take more than {most >> 20} MiB of memory when it is read: send less at a time",
        )
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise Fault(Code.INVALID_ARGUMENT, f"the request is no valid {kind.DESCRIPTOR.name}") from error
