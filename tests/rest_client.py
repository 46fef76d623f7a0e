"""A REST client as TF Serving's users write one, with the standard library alone, and what REST has no words for.

It speaks to a front's address (`http://127.0.0.1:8501`) or to a worker's own socket (`unix:/run/…/worker-0.sock`). What
the values of an answer are, it reads from the model's metadata.
"""

from __future__ import annotations

import base64
import enum
import http.client
import json
import os
import socket
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNSAYABLE", "Form", "Reply", "RestClient", "RestRefused", "Unsayable", "Why", "why_unsayable"]

Arrays = Mapping[str, NDArray[Any]]

_ELEMENTS: Final = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_HALF": np.float16,
    "DT_INT8": np.int8,
    "DT_INT16": np.int16,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_UINT8": np.uint8,
    "DT_UINT16": np.uint16,
    "DT_UINT32": np.uint32,
    "DT_UINT64": np.uint64,
    "DT_BOOL": np.bool_,
    "DT_STRING": np.object_,
}


class Form(enum.Enum):
    """How a prediction is asked for, and answered."""

    COLUMNS = "inputs"
    ROWS = "instances"


class Why(enum.Enum):
    """Why REST has no words for something: a part of the error, the server's or this client's."""

    COMPLEX = "JSON has no complex numbers"
    NO_INPUTS = "which has no inputs: only columns can"
    EMPTY_BATCH = "No values in 'instances' array"
    INPUTS_OF_SEVERAL_BATCHES = "the inputs are not of one batch"
    OUTPUTS_OF_SEVERAL_BATCHES = "has inconsistent batch size"
    SCALAR_OUTPUT = "has no shape information"


# The zoo's cases that REST has no words for.
UNSAYABLE: Final[Mapping[Form, Mapping[Why, Mapping[str, tuple[str, ...]]]]] = {
    Form.COLUMNS: {
        Why.COMPLEX: {"mfcc_frontend_control": ("tone", "noise")},
    },
    Form.ROWS: {
        Why.COMPLEX: {"mfcc_frontend_control": ("tone", "noise")},
        Why.NO_INPUTS: {
            "memory_stats_probe": ("mem",),
            "obtain_next_roundrobin_stateful": ("s1", "s2", "s3", "s4", "s5"),
        },
        Why.EMPTY_BATCH: {"skip_gram_pairs": ("empty",)},
        Why.INPUTS_OF_SEVERAL_BATCHES: {
            "connected_components": ("a",),
            "ffmpeg_wav_encode": ("a", "b", "legacy", "no_ffmpeg_video", "no_ffmpeg_binary"),
            "gather_tree_postproc": ("a", "b", "shape_mismatch"),
            "image_hsv_in_yiq": ("a", "b", "four_channels"),
            "image_projective_old_op": ("persp", "bad_transform_count"),
            "plane_sweep_resampler": ("a", "b"),
            "reduce_slice_ragged_pool": ("a", "one", "int64"),
            "skip_gram_pairs": ("ids", "limit_minus_one"),
            "speech_block_fused_lstm_control": ("two", "one", "stream"),
            "tracker_bipartite_match": ("a", "partial"),
            "wals_recommender": ("two", "one"),
        },
        Why.OUTPUTS_OF_SEVERAL_BATCHES: {
            "ads_ctr_sparse_cross_v2": ("predict",),
            "gtflow_quantile_bucketize": ("a", "b"),
            "gtflow_split_finder": ("a", "b"),
        },
        Why.SCALAR_OUTPUT: {
            "connected_components": ("default_threshold",),
            "gtflow_quantile_bucketize": ("summarize",),
            "tensor_forest_core_predict": ("a", "b"),
            "tensor_forest_core_saveable_quirk": ("a", "b"),
        },
    },
}


def why_unsayable(model: str, case: str, form: Form) -> Why | None:
    """Why a case of the zoo has no words in a form; None if it has."""
    return next((why for why, models in UNSAYABLE[form].items() if case in models.get(model, ())), None)


class RestRefused(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text

    def __str__(self) -> str:
        return f"{self.status}: {self.text}"


class Unsayable(Exception):
    """A request that the form has no words for."""


@dataclass(frozen=True)
class Reply:
    """What came back for one request; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, which must say that it is JSON.

        Raises:
            RestRefused: It is an error.
        """
        assert self.headers["content-type"] == "application/json"
        document = json.loads(self.body)
        if self.status != http.HTTPStatus.OK:
            assert list(document) == ["error"]
            raise RestRefused(self.status, document["error"])
        return document


@dataclass(frozen=True)
class _Spec:
    dtype: str
    sizes: Sequence[int]


class RestClient:
    """One server. Every request has a connection of its own.

    Args:
        base_url: `http://HOST:PORT`, or `unix:PATH`.
    """

    def __init__(self, base_url: str, timeout_s: float = 60.0) -> None:
        self._url = urllib.parse.urlsplit(base_url)
        self._timeout_s = timeout_s

    def predict(self, form: Form, model: str, signature: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """One prediction, in either form; see the next two."""
        ask = self.predict_columnar if form is Form.COLUMNS else self.predict_rows
        return ask(model, signature, inputs)

    def predict_columnar(self, model: str, signature: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """One prediction, asked for by columns.

        Raises:
            RestRefused: The server answered with an error.
        """
        columns = {alias: _written(array) for alias, array in inputs.items()}
        outputs = self._predicted(model, {"signature_name": signature, "inputs": columns})["outputs"]
        specs = self._outputs(model, signature)
        if len(specs) == 1:
            outputs = dict.fromkeys(specs, outputs)
        return {alias: _read(value, specs[alias]) for alias, value in outputs.items()}

    def predict_rows(self, model: str, signature: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """One prediction, asked for by rows.

        Raises:
            RestRefused: The server answered with an error.
            Unsayable: The inputs are not of one batch.
        """
        batches = {array.shape[:1] for array in inputs.values()}
        if len(batches) > 1 or () in batches:
            raise Unsayable(Why.INPUTS_OF_SEVERAL_BATCHES.value)
        columns = [_written(array) for array in inputs.values()]
        instances = [dict(zip(inputs, row)) for row in zip(*columns)] if inputs else [{}]
        rows = self._predicted(model, {"signature_name": signature, "instances": instances})["predictions"]
        specs = self._outputs(model, signature)
        if len(specs) == 1:
            rows = [dict.fromkeys(specs, row) for row in rows]
        return {alias: _read([row[alias] for row in rows], spec) for alias, spec in specs.items()}

    def status(self, model: str, version: int | None = None) -> Any:
        """The versions of a model and their states, as the server has them."""
        return self.get(f"/v1/models/{model}{_version_path(version)}").json()

    def metadata(self, model: str, version: int | None = None) -> Any:
        """A model's signatures, as the server has them."""
        return self.get(f"/v1/models/{model}{_version_path(version)}/metadata").json()

    def get(self, path: str) -> Reply:
        """One GET."""
        return self.request("GET", path)

    def post(self, path: str, body: bytes | object, headers: Mapping[str, str] | None = None) -> Reply:
        """One POST; what is not bytes is sent as JSON."""
        return self.request("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode(), headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One exchange, of any method."""
        connection = self._connection()
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def _predicted(self, model: str, document: Mapping[str, Any]) -> Any:
        return self.post(f"/v1/models/{model}:predict", document).json()

    def _outputs(self, model: str, signature: str) -> dict[str, _Spec]:
        """The outputs' descriptions; for a sparse one those of its three parts."""
        described = self.metadata(model)["metadata"]["signature_def"]["signature_def"][signature]["outputs"]
        return dict(part for alias, info in sorted(described.items()) for part in _parts(alias, info))

    def _connection(self) -> http.client.HTTPConnection:
        if self._url.scheme == "unix":
            return _UnixConnection(Path(self._url.path), self._timeout_s)
        return http.client.HTTPConnection(self._url.netloc, timeout=self._timeout_s)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        folder = os.open(self._path.parent, os.O_PATH)  # a socket's own path may have 107 bytes at most
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def _version_path(version: int | None) -> str:
    return "" if version is None else f"/versions/{version}"


def _parts(alias: str, info: Mapping[str, Any]) -> list[tuple[str, _Spec]]:
    sizes = [int(dim["size"]) for dim in info["tensor_shape"]["dim"]]
    if "coo_sparse" not in info:
        return [(alias, _Spec(info["dtype"], sizes))]
    return [
        (f"{alias}/dense_shape", _Spec("DT_INT64", [-1])),
        (f"{alias}/indices", _Spec("DT_INT64", [-1, len(sizes)])),
        (f"{alias}/values", _Spec(info["dtype"], [-1])),
    ]


def _written(array: NDArray[Any]) -> Any:
    return _texts_written(array.tolist()) if array.dtype == object else array.tolist()


def _texts_written(value: Any) -> Any:
    """Strings as themselves; as base64 where they are no UTF-8."""
    if isinstance(value, list):
        return [_texts_written(one) for one in value]
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _read(value: Any, spec: _Spec) -> NDArray[Any]:
    """An array of what must be written as its dtype is: 1 for an integer, 1.0 for a float."""
    if spec.dtype == "DT_STRING":
        array = np.array(_texts_read(value), object)
    else:
        element = np.dtype(_ELEMENTS[spec.dtype])
        array = np.array(value)
        assert array.size == 0 or array.dtype.kind in element.kind.replace("u", "iu"), f"{value} for {spec.dtype}"
        array = array.astype(element)
    if array.size == 0:  # JSON says nothing of what comes below an empty list
        array = array.reshape(array.shape + tuple(max(0, size) for size in spec.sizes[array.ndim :]))
    return array


def _texts_read(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts_read(one) for one in value]
    return base64.b64decode(value["b64"], validate=True) if isinstance(value, dict) else value.encode()
