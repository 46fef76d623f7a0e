"""TF Serving's gRPC methods over the data plane: decode, ask, encode."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar, Union

from google.protobuf.message import DecodeError, Message
from stopgap_protos import serving_pb2 as pb

from .faults import Code, Fault
from .predict import DataPlane, Prediction
from .tensors import WireTensor, pieces
from .varints import varint

__all__ = ["GrpcApi"]

_SIGNATURE_DEF: Final = "signature_def"
_SIGNATURE_MAP_URL: Final = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
_OUTPUTS_FIELD: Final = pb.PredictResponse.OUTPUTS_FIELD_NUMBER
_MODEL_SPEC_FIELD: Final = pb.PredictResponse.MODEL_SPEC_FIELD_NUMBER
_KEY_FIELD: Final = 1  # of every protobuf map entry
_VALUE_FIELD: Final = 2

_LENGTH_DELIMITED: Final = 2  # the wire type of strings, bytes and messages

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
        request = _parsed(pb.PredictRequest, message)
        if not request.HasField("model_spec"):
            raise Fault(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        signature = self._data_plane.signature(request.model_spec)
        inputs = {alias: WireTensor(request.inputs[alias], alias) for alias in sorted(request.inputs)}
        return self._encoded(self._data_plane.predict(signature, inputs, request.output_filter, timeout_s))

    def _encoded(self, prediction: Prediction) -> Buffers:
        """A PredictResponse, put together around the tensors' own bytes: they may be megabytes."""
        message: list[Buffer] = []
        for alias, tensor in prediction.outputs.items():
            key, value = _map_key(alias), pieces(tensor)
            size = sum(map(len, value))
            value_header = _header(_VALUE_FIELD, size)
            entry_header = _header(_OUTPUTS_FIELD, len(key) + len(value_header) + size)
            message += (entry_header + key + value_header, *value)
        message.append(self._model_spec(prediction.signature.key))
        return message

    def _answering_spec(self, signature_key: str) -> bytes:
        """The field of a PredictResponse that says which model, version and signature have answered."""
        spec = pb.ModelSpec(name=self._data_plane.name, signature_name=signature_key)
        spec.version.value = self._data_plane.version
        serialised = spec.SerializeToString()
        return _header(_MODEL_SPEC_FIELD, len(serialised)) + serialised

    def _metadata(self, message: memoryview, _timeout_s: float | None) -> Buffers:
        request = _parsed(pb.GetModelMetadataRequest, message)
        if not request.metadata_field:
            raise Fault(Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise Fault(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
        if not request.HasField("model_spec"):
            raise Fault(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        self._data_plane.check_spec(request.model_spec)
        signatures = pb.SignatureDefMap(signature_def=self._data_plane.signature_defs)
        response = pb.GetModelMetadataResponse()
        response.model_spec.name = self._data_plane.name
        response.model_spec.version.value = self._data_plane.version
        response.metadata[_SIGNATURE_DEF].type_url = _SIGNATURE_MAP_URL
        response.metadata[_SIGNATURE_DEF].value = signatures.SerializeToString()
        return (response.SerializeToString(),)

    def _status(self, message: memoryview, _timeout_s: float | None) -> Buffers:
        spec = _parsed(pb.GetModelStatusRequest, message).model_spec
        if spec.name != self._data_plane.name:
            raise Fault(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        if spec.HasField("version") and spec.version.value != self._data_plane.version:
            raise Fault(Code.NOT_FOUND, f"Could not find version {spec.version.value} of model {spec.name}")
        response = pb.GetModelStatusResponse()
        response.model_version_status.add(
            version=self._data_plane.version,
            state=pb.ModelVersionStatus.AVAILABLE,
            status=pb.StatusProto(error_code=Code.OK),
        )
        return (response.SerializeToString(),)


def _header(field: int, size: int) -> bytes:
    """What stands before the `size` bytes of a string, bytes or message field."""
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(size)


@functools.lru_cache(maxsize=1024)
def _map_key(alias: str) -> bytes:
    encoded = alias.encode()
    return _header(_KEY_FIELD, len(encoded)) + encoded


def _parsed(kind: type[_M], message: memoryview) -> _M:
    try:
        return kind.FromString(bytes(message))
    except DecodeError as error:
        raise Fault(Code.INVALID_ARGUMENT, f"the request is no valid {kind.DESCRIPTOR.name}") from error
