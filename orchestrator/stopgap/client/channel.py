"""Unary gRPC calls to a TF Serving address, with stopgap's messages and errors."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
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
from stopgap_protos.unfolding import unfolded_bytes

from stopgap.client.forks import call_under_way
from stopgap.client.status import FAILED_PRECONDITION, INTERNAL, RESOURCE_EXHAUSTED, to_error
from stopgap.client.stock import response_class
from stopgap.client.sunset_header import Metadata
from stopgap.errors import PredictionError

__all__ = ["ServingChannel"]

_LARGEST_MESSAGE_MIB: Final = 2047
# What an answer may take when it is read: sixteen bytes for one is what empty strings and small numbers take.
_MOST_UNFOLDED_BYTES: Final = 64 * 2**20
_MOST_UNFOLDED_FOR_A_BYTE: Final = 20
_PREDICTION_SERVICE = "/tensorflow.serving.PredictionService"
_MODEL_SERVICE = "/tensorflow.serving.ModelService"

_Response = TypeVar("_Response", bound=Message)


class ServingChannel:
    """A connection to one address, to be used in a `with`; any number of threads may call through it.

    Args:
        address: `HOST:PORT`.
        max_message_mib: The largest answer that is taken, in MiB.
        headers: What goes with every request, as gRPC's metadata.
    """

    def __init__(
        self, address: str, max_message_mib: int = _LARGEST_MESSAGE_MIB, *, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.address = address
        self._headers = tuple(headers)
        self._options: list[tuple[str, int]] = [
            ("grpc.max_receive_message_length", max_message_mib * 2**20),
            ("grpc.max_send_message_length", -1),  # the front says what is too large, and how to allow it
            # A front that has died is back sooner than the second that gRPC waits at first before it asks again.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
            ("grpc.use_local_subchannel_pool", 1),  # a forked process must not go on with its parent's connection
        ]
        if _is_this_machine(address):
            self._options.append(("grpc.enable_http_proxy", 0))
        self._closed = False
        self._connect()

    def __enter__(self) -> ServingChannel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls in flight are cancelled."""
        self._closed = True
        if self._opened_by == os.getpid():
            self._channel.close()

    def _connect(self) -> None:
        self._channel = grpc.insecure_channel(self.address, options=self._options)
        self._calls: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._opened_by = os.getpid()

    def predict(self, request: PredictRequest, timeout_s: float | None = None) -> PredictResponse:
        """Ask for a prediction.

        Args:
            request: The request.
            timeout_s: The deadline, which the model's worker keeps too; None waits for ever.

        Raises:
            PredictionError: It was refused or failed, with gRPC's code.
        """
        return self._call(f"{_PREDICTION_SERVICE}/Predict", request, PredictResponse, timeout_s)

    def predict_stock(self, request: Message, timeout_s: float | None = None) -> Message:
        """As `predict`, with the message of somebody else's package: `tensorflow_serving.apis`, say.

        Returns:
            The PredictResponse of the module that the request is of.

        Raises:
            PredictionError: It is no PredictRequest of TF Serving's, or was refused or failed.
        """
        return self._call(f"{_PREDICTION_SERVICE}/Predict", request, response_class(request), timeout_s)

    def metadata(self, request: GetModelMetadataRequest, timeout_s: float | None = None) -> GetModelMetadataResponse:
        """Ask for the model's metadata; otherwise like `predict`."""
        return self._call(f"{_PREDICTION_SERVICE}/GetModelMetadata", request, GetModelMetadataResponse, timeout_s)

    def status(self, request: GetModelStatusRequest, timeout_s: float | None = None) -> GetModelStatusResponse:
        """Ask for the state of the model's versions; otherwise like `predict`."""
        return self._call(f"{_MODEL_SERVICE}/GetModelStatus", request, GetModelStatusResponse, timeout_s)

    def status_headers(self, request: GetModelStatusRequest, timeout_s: float | None = None) -> Metadata:
        """What comes with the answer to `status`: gRPC's initial metadata."""
        ask = self._call_of(f"{_MODEL_SERVICE}/GetModelStatus")
        try:
            with call_under_way():
                _, call = ask.with_call(_serialised(request), timeout=timeout_s, metadata=self._headers)
        except grpc.RpcError as error:
            raise to_error(error, self.address) from error
        headers: Metadata = tuple(call.initial_metadata())
        return headers

    def _call(self, method: str, request: Message, response: type[_Response], timeout_s: float | None) -> _Response:
        ask = self._call_of(method)
        try:
            with call_under_way():
                answer = ask(_serialised(request), timeout=timeout_s, metadata=self._headers)
        except (grpc.RpcError, ValueError) as error:  # the latter, where it is closed in this very moment
            if self._closed:
                raise self._is_closed() from error
            if isinstance(error, ValueError):
                raise
            raise to_error(error, self.address) from error
        most = _MOST_UNFOLDED_BYTES + _MOST_UNFOLDED_FOR_A_BYTE * len(answer)
        if unfolded_bytes(response, answer, most) > most:
            raise PredictionError(f"{self.address} answered with what would fill this machine's memory.", INTERNAL)
        try:
            return response.FromString(answer)
        except DecodeError as error:
            name = method.rpartition("/")[2]
            raise PredictionError(f"{self.address} answered {name} with what cannot be read.", INTERNAL) from error

    def _call_of(self, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
        """Made once, which takes gRPC as long as a tenth of a call. Two threads may make one each, and lose nothing."""
        if self._closed:
            raise self._is_closed()
        if self._opened_by != os.getpid():  # this process was forked from the one that opened it
            self._connect()
        if method not in self._calls:
            # Bytes in and out: gRPC would print what goes wrong in a serialiser of ours to stderr.
            made = self._channel.unary_unary(method, request_serializer=_as_it_is, response_deserializer=_as_it_is)
            self._calls[method] = made
        return self._calls[method]

    def _is_closed(self) -> PredictionError:
        return PredictionError(f"The connection to {self.address} was closed.", FAILED_PRECONDITION, "Open it anew.")


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
