"""Unary gRPC calls to a TF Serving address, with stopgap's messages and errors."""

from __future__ import annotations

import ipaddress
from types import TracebackType
from typing import Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, EncodeError, Message
from stopgap_protos.serving_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    PredictRequest,
    PredictResponse,
)

from stopgap.client.status import INTERNAL, RESOURCE_EXHAUSTED, to_error
from stopgap.errors import PredictionError

__all__ = ["ServingChannel"]

_LARGEST_MESSAGE_MIB: Final = 2047
_PREDICTION_SERVICE = "/tensorflow.serving.PredictionService"
_MODEL_SERVICE = "/tensorflow.serving.ModelService"

_Response = TypeVar("_Response", bound=Message)


class ServingChannel:
    """A connection to one address, to be used in a `with`; any number of threads may call through it.

    Args:
        address: `HOST:PORT`.
        max_message_mib: The largest answer that is taken, in MiB.
    """

    def __init__(self, address: str, max_message_mib: int = _LARGEST_MESSAGE_MIB) -> None:
        self.address = address
        options: list[tuple[str, int]] = [
            ("grpc.max_receive_message_length", max_message_mib * 2**20),
            ("grpc.max_send_message_length", -1),  # the front says what is too large, and how to allow it
        ]
        if _is_this_machine(address):
            options.append(("grpc.enable_http_proxy", 0))
        self._channel = grpc.insecure_channel(address, options=options)

    def __enter__(self) -> ServingChannel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls in flight are cancelled."""
        self._channel.close()

    def predict(self, request: PredictRequest, timeout_s: float | None = None) -> PredictResponse:
        """Ask for a prediction.

        Args:
            request: The request.
            timeout_s: The deadline, which the model's worker keeps too; None waits for ever.

        Raises:
            PredictionError: It was refused or failed, with gRPC's code.
        """
        return self._call(f"{_PREDICTION_SERVICE}/Predict", request, PredictResponse, timeout_s)

    def metadata(self, request: GetModelMetadataRequest, timeout_s: float | None = None) -> GetModelMetadataResponse:
        """Ask for the model's metadata; otherwise like `predict`."""
        return self._call(f"{_PREDICTION_SERVICE}/GetModelMetadata", request, GetModelMetadataResponse, timeout_s)

    def status(self, request: GetModelStatusRequest, timeout_s: float | None = None) -> GetModelStatusResponse:
        """Ask for the state of the model's versions; otherwise like `predict`."""
        return self._call(f"{_MODEL_SERVICE}/GetModelStatus", request, GetModelStatusResponse, timeout_s)

    def _call(self, method: str, request: Message, response: type[_Response], timeout_s: float | None) -> _Response:
        # Bytes in and out: gRPC would print what goes wrong in a serialiser of ours to stderr.
        call = self._channel.unary_unary(method, request_serializer=_as_it_is, response_deserializer=_as_it_is)
        try:
            answer = call(_serialised(request), timeout=timeout_s)
        except grpc.RpcError as error:
            raise to_error(error, self.address) from error
        try:
            return response.FromString(answer)
        except DecodeError as error:
            name = method.rpartition("/")[2]
            raise PredictionError(f"{self.address} answered {name} with what cannot be read.", INTERNAL) from error


def _serialised(request: Message) -> bytes:
    try:
        return request.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise PredictionError(
            "The request is larger than the 2 GiB that a message may have.", RESOURCE_EXHAUSTED, "Send less at once."
        ) from error


def _as_it_is(message: bytes) -> bytes:
    return message


def _is_this_machine(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in {"localhost", ""}
