"""TF Serving's REST methods over the data plane: paths, JSON, and errors as {"error": …} with HTTP's codes.

Paths, texts and codes are TF Serving 1.15's (model_servers/http_rest_api_handler.cc, http_server.cc). Beyond it: a
query string is passed over, a model's name may be percent-encoded, HEAD is answered like GET.
"""

from __future__ import annotations

import re
import urllib.parse
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stopgap_protos.serving_pb2 import ModelSpec, ModelVersionStatus

from .descriptions import signatures_of, status_of
from .faults import Code, Fault
from .http11 import Request, Response
from .json_answers import check_writable, write_outputs
from .json_document import collector_paused, excerpt, parsed, written
from .json_requests import Inputs, read_inputs
from .signatures import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    from .predict import DataPlane
    from .signatures import Signature

__all__ = ["HTTP_STATUS", "RestApi", "failure", "is_for_rest"]

_ROOT: Final = "/v1/"
_VERBS: Final = re.compile(r"(?i)/v1/models/([^/:]+)(?:/versions/([0-9]+))?:(classify|regress|predict)")
_RESOURCES: Final = re.compile(r"(?i)/v1/models(?:/([^/:]+))?(?:/versions/([0-9]+))?(/metadata)?")
_LARGEST_VERSION: Final = 2**63 - 1
_MOST_DIGITS: Final = len(str(_LARGEST_VERSION))  # Python refuses to read thousands
_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib's number for it
_HEADERS: Final = {"content-type": "application/json"}

HTTP_STATUS: Final[Mapping[Code, int]] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""TF Serving's table; every code is in it."""


def is_for_rest(path: str) -> bool:
    """Whether TF Serving would answer a request for this path with JSON, if only with an error."""
    return path[: len(_ROOT)].lower() == _ROOT


def failure(fault: Fault) -> Response:
    """An error's response; its text is not cut."""
    text = fault.text.encode(errors="replace").decode()
    return _json(HTTP_STATUS[fault.code], {"error": text})


class RestApi:
    """Requests by their path.

    Args:
        largest_bytes: What a body may weigh when it has been decompressed.
    """

    def __init__(self, data_plane: DataPlane, largest_bytes: int) -> None:
        self._data_plane = data_plane
        self._largest_bytes = largest_bytes

    def answer(self, request: Request) -> Response:
        """Answers one request.

        Raises:
            Fault: Whatever went wrong.
        """
        path = request.path.partition("?")[0]
        if request.method == "POST" and (found := _VERBS.fullmatch(path)):
            name, version, verb = found.groups()
            spec = _spec(name, version)
            if verb.lower() == "predict":
                return self._predict(spec, request)
            self._data_plane.check_spec(spec)
            raise Fault(
                Code.UNIMPLEMENTED,
                f":{verb} is not served; :predict runs the same signatures, their examples as serialised tf.Example "
                'strings ({"b64": …})',
            )
        if request.method in {"GET", "HEAD"} and (found := _RESOURCES.fullmatch(path)):
            name, version, metadata = found.groups()
            if not name:
                raise Fault(Code.INVALID_ARGUMENT, "Missing model name in request.")
            spec = _spec(name, version)
            return self._metadata(spec) if metadata else self._status(spec)
        raise Fault(Code.INVALID_ARGUMENT, f"Malformed request: {request.method} {request.path}")

    def _predict(self, spec: ModelSpec, request: Request) -> Response:
        body = _decompressed(request, self._largest_bytes)
        with collector_paused():
            signature, inputs = self._read(spec, body)
        prediction = self._data_plane.predict(signature, inputs.tensors, (), None)
        return Response(200, _HEADERS, (write_outputs(prediction.outputs, inputs.form),))

    def _read(self, spec: ModelSpec, body: bytes) -> tuple[Signature, Inputs]:
        document = parsed(body, self._largest_bytes)
        name = document.get("signature_name", "")
        if not isinstance(name, str):
            raise Fault(
                Code.INVALID_ARGUMENT,
                f"JSON Value: {excerpt(document)} not formatted correctly. "
                "'signature_name' key must be a string value.",
            )
        self._data_plane.check_spec(spec)
        key = name or DEFAULT_SIGNATURE
        signature = self._data_plane.signatures.get(key)
        if signature is None:
            raise Fault(Code.INVALID_ARGUMENT, f'Serving signature name: "{key}" not found in signature def')
        check_writable(signature)
        return signature, read_inputs(document, signature)

    def _status(self, spec: ModelSpec) -> Response:
        versions = [
            {
                "version": str(status.version),
                "state": ModelVersionStatus.State.Name(status.state),
                "status": {
                    "error_code": Code(status.status.error_code).name,
                    "error_message": status.status.error_message,
                },
            }
            for status in status_of(self._data_plane, spec).model_version_status
        ]
        return _json(200, {"model_version_status": versions})

    def _metadata(self, spec: ModelSpec) -> Response:
        from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - a megabyte that few workers need

        signatures = MessageToDict(
            signatures_of(self._data_plane, spec),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        model_spec = {
            "name": spec.name,
            "signature_name": "",
            "version": str(self._data_plane.version),
        }
        return _json(200, {"model_spec": model_spec, "metadata": {"signature_def": signatures}})


def _json(status: int, value: Any) -> Response:
    return Response(status, _HEADERS, (written(value),))


def _spec(name: str, version: str | None) -> ModelSpec:
    spec = ModelSpec()
    try:
        spec.name = urllib.parse.unquote(name, errors="strict")
    except UnicodeDecodeError as error:
        raise Fault(Code.INVALID_ARGUMENT, f"Failed to decode the model's name: {name}") from error
    if version:
        if len(version) > _MOST_DIGITS or int(version) > _LARGEST_VERSION:
            raise Fault(Code.INVALID_ARGUMENT, f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    return spec


def _decompressed(request: Request, largest_bytes: int) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return bytes(request.body)
    if encoding != "gzip":
        raise Fault(Code.INVALID_ARGUMENT, f"Content-Encoding {encoding} is not supported: gzip is, and none")
    stream = zlib.decompressobj(wbits=_GZIP)
    try:
        body = stream.decompress(request.body, largest_bytes)
    except zlib.error as error:
        raise Fault(Code.INVALID_ARGUMENT, f"the body is no gzip: {error}") from error
    if stream.unconsumed_tail:
        raise Fault(Code.RESOURCE_EXHAUSTED, f"the body is more than {largest_bytes} bytes when decompressed")
    if not stream.eof:
        raise Fault(Code.INVALID_ARGUMENT, "the gzip body ends too early")
    if stream.unused_data:
        raise Fault(Code.INVALID_ARGUMENT, "the gzip body goes on after its end: send one member")
    return body
