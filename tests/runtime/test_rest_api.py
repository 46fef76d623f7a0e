"""REST's paths, texts and codes over a real model, without a socket."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from stopgap_protos.tensor_pb2 import DataType
from stopgap_runtime.capi import TensorFlow
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.front_desk import FrontDesk
from stopgap_runtime.grpc_api import GrpcApi
from stopgap_runtime.http11 import _REASONS, Request, Response
from stopgap_runtime.predict import DataPlane
from stopgap_runtime.rest_api import HTTP_STATUS, RestApi, failure, is_for_rest
from stopgap_runtime.servable import Servable

from tests.graphs import echo, sparse_echo

LARGEST_BYTES = 1 << 20
TENSORS = {"x": (DataType.DT_FLOAT, (-1, 2)), "n": (DataType.DT_INT64, (-1,)), "rate": (DataType.DT_INT64, ())}


@contextmanager
def desk_for(tensorflow: TensorFlow, model: Path) -> Iterator[FrontDesk]:
    """A model served as `m`, version 3."""
    servable = Servable.load(tensorflow, model, tags={"serve"}, threads=1)
    data_plane = DataPlane(
        "m", 3, servable, run_timeout_s=10, largest_bytes=LARGEST_BYTES, overdue_after=lambda _deadline: nullcontext()
    )
    yield FrontDesk(GrpcApi(data_plane), RestApi(data_plane, LARGEST_BYTES))
    servable.close()


@pytest.fixture(scope="module")
def desk(legacy_tensorflow: TensorFlow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDesk]:
    """A model that gives its inputs back; `rate` may be left out."""
    model = echo(tmp_path_factory.mktemp("rest") / "m", TENSORS, optional={"rate"})
    with desk_for(legacy_tensorflow, model) as served:
        yield served


def ask(desk: FrontDesk, method: str, path: str, body: object = b"", **headers: str) -> tuple[int, Any]:
    """One request; its status and the answer's JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = desk.answer(Request(method, path, named, sent, keep_alive=True))
    assert response.headers["content-type"] == "application/json"
    assert response.trailers is None
    return response.status, json.loads(b"".join(response.body))


@pytest.mark.parametrize(
    "path", ["/v1/models/m:predict", "/v1/models/m/versions/3:predict", "/V1/Models/m:predict?a=b:c"]
)
def test_a_prediction_is_answered_whatever_way_its_path_is_written(desk: FrontDesk, path: str) -> None:
    status, document = ask(desk, "POST", path, {"inputs": {"x": [[1, 2]], "n": [7], "rate": 5}})
    assert (status, document) == (200, {"outputs": {"n": [7], "rate": 5, "x": [[1.0, 2.0]]}})


def test_a_sparse_tensor_comes_and_goes_as_its_three_dense_parts(legacy_tensorflow: TensorFlow, tmp_path: Path) -> None:
    parts = {"sp/dense_shape": [2, 3], "sp/indices": [[0, 0], [1, 2]], "sp/values": [1.5, 2.0]}
    with desk_for(legacy_tensorflow, sparse_echo(tmp_path / "m")) as served:
        assert ask(served, "POST", "/v1/models/m:predict", {"inputs": parts}) == (200, {"outputs": parts})
        _, document = ask(served, "GET", "/v1/models/m/metadata")
        described = document["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["sp"]
        assert described["coo_sparse"]["indices_tensor_name"] == "indices:0"


def test_an_answer_without_a_batch_has_no_rows(desk: FrontDesk) -> None:
    status, document = ask(desk, "POST", "/v1/models/m:predict", {"instances": [{"x": [1, 2], "n": 7}]})
    assert (status, document) == (400, {"error": "Tensor name: rate has no shape information "})


def test_a_body_may_be_compressed(desk: FrontDesk) -> None:
    body = json.dumps({"inputs": {"x": [[1, 2]], "n": [7]}}).encode()
    path = "/v1/models/m:predict"
    assert ask(desk, "POST", path, gzip.compress(body), content_encoding="gzip")[1]["outputs"]["rate"] == 7
    bomb = gzip.compress(body.ljust(LARGEST_BYTES + 1))
    status, document = ask(desk, "POST", path, bomb, content_encoding="gzip")
    assert (status, document) == (429, {"error": "the body is more than 1048576 bytes when decompressed"})
    for broken in (body, gzip.compress(body)[:-9]):
        status, document = ask(desk, "POST", path, broken, content_encoding="gzip")
        assert status == 400
        assert "gzip" in document["error"]
    assert ask(desk, "POST", path, body, content_encoding="br")[0] == 400


VERSION_TOO_LARGE = "9" * 5000
WRONG = [
    ("POST", "/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
    ("POST", "/v1/models/m/versions/4:predict", 404, "Servable not found for request: Specific(m, 4)"),
    ("POST", "/v1/models/other:classify", 404, "Servable not found for request: Latest(other)"),
    ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
    ("GET", "/v1/models/m/versions/4", 404, "Could not find version 4 of model m"),
    ("GET", "/v1/models/other/metadata", 404, "Servable not found for request: Latest(other)"),
    ("GET", "/v1/models", 400, "Missing model name in request."),
    ("GET", "/v1/models/m:predict", 400, "Malformed request: GET /v1/models/m:predict"),
    ("POST", "/v1/models/m", 400, "Malformed request: POST /v1/models/m"),
    ("POST", "/v1/models/m:explain", 400, "Malformed request: POST /v1/models/m:explain"),
    ("POST", "/v1/models/m/labels/stable:predict", 400, "Malformed request: POST /v1/models/m/labels/stable:predict"),
    ("GET", "/v1/models/m/labels/stable", 400, "Malformed request: GET /v1/models/m/labels/stable"),
    ("DELETE", "/v1/models/m", 400, "Malformed request: DELETE /v1/models/m"),
    ("GET", "/v1/", 400, "Malformed request: GET /v1/"),
    ("GET", "/v1/models/m%0A", 404, "Could not find any versions of model m\n"),
    ("GET", "/v1/models/%ff", 400, "Failed to decode the model's name: %ff"),
    (
        "GET",
        f"/v1/models/m/versions/{VERSION_TOO_LARGE}",
        400,
        f"Failed to convert version: {VERSION_TOO_LARGE} to numeric.",
    ),
    (
        "POST",
        f"/v1/models/m/versions/{VERSION_TOO_LARGE}:predict",
        400,
        f"Failed to convert version: {VERSION_TOO_LARGE} to numeric.",
    ),
]


@pytest.mark.parametrize(("method", "path", "status", "text"), WRONG, ids=lambda value: str(value)[:50])
def test_a_wrong_path_is_refused_in_tf_servings_words(
    desk: FrontDesk, method: str, path: str, status: int, text: str
) -> None:
    assert ask(desk, method, path, {"inputs": {"x": [[1, 2]], "n": [7]}}) == (status, {"error": text})


@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_classify_and_regress_are_not_there_and_say_what_is(desk: FrontDesk, verb: str) -> None:
    status, document = ask(desk, "POST", f"/v1/models/m:{verb}", {"examples": [{}]})
    assert status == 501
    assert document["error"].startswith(f":{verb} is not served; :predict runs the same signatures")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"signature_name": "other", "inputs": {}}, 400, 'Serving signature name: "other" not found in signature def'),
        (
            {"signature_name": 1, "inputs": {}},
            400,
            'JSON Value: {"signature_name": 1, "inputs": {}} not formatted correctly. '
            "'signature_name' key must be a string value.",
        ),
        ({"signature_name": "", "inputs": {"n": [1]}}, 400, "Missing named input: x in 'inputs' object."),
        (b"", 400, "JSON Parse error: The document is empty"),
        (
            {"inputs": {"x": [[1, 2, 3]], "n": [1]}},
            400,
            "input 'x' has shape [1,3], signature 'serving_default' takes [?,2]",
        ),
        (
            {"instances": [{"x": [1, 2], "n": 1, "rate": 1}]},
            400,
            "input 'rate' has shape [1], signature 'serving_default' takes []",
        ),
    ],
)
def test_a_wrong_body_is_refused(desk: FrontDesk, body: object, status: int, text: str) -> None:
    assert ask(desk, "POST", "/v1/models/m:predict", body) == (status, {"error": text})


@pytest.mark.parametrize("path", ["/v1/models/m", "/v1/models/m/versions/3", "/v1/models/%6d?x"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_status_is_tf_servings(desk: FrontDesk, method: str, path: str) -> None:
    state = {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert ask(desk, method, path) == (200, {"model_version_status": [state]})


@pytest.mark.parametrize("path", ["/v1/models/m/metadata", "/v1/models/m/versions/3/metadata"])
def test_the_metadata_is_tf_servings(desk: FrontDesk, path: str) -> None:
    status, document = ask(desk, "GET", path)
    assert status == 200
    assert document["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False},
        "name": "in0:0",
    }
    assert signature["outputs"]["rate"]["tensor_shape"] == {"dim": [], "unknown_rank": False}


def test_every_code_has_its_http_status_and_every_status_its_reason() -> None:
    assert set(HTTP_STATUS) == set(Code)
    assert set(HTTP_STATUS.values()) <= set(_REASONS)


def test_an_errors_text_may_be_anything() -> None:
    response = failure(Fault(Code.INTERNAL, 'a "quoted"\ud800\n' + "x" * 5000))
    assert json.loads(b"".join(response.body)) == {"error": 'a "quoted"?\n' + "x" * 5000}


def test_what_is_below_v1_is_for_rest() -> None:
    assert is_for_rest("/v1/")
    assert is_for_rest("/V1/models/x")
    assert not is_for_rest("/v1")
    assert not is_for_rest("/v2/models")


def plain(desk: FrontDesk, path: str) -> Response:
    return desk.answer(Request("GET", path, {}, b"", keep_alive=True))


def test_other_paths_are_neither_answered_nor_an_error_of_the_model(desk: FrontDesk) -> None:
    assert plain(desk, "/healthz").status == 200
    assert plain(desk, "/").status == 404
