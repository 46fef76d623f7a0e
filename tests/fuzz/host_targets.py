"""What the host side reads of a sandbox's and an Envoy's words: answers, metadata, announcements, admin pages."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from stopgap.api.functions import checked
from stopgap.api.values import SparseValue, gathered
from stopgap.client.dtypes import dtype_of
from stopgap.client.signatures import Signature, TensorSpec, choose, signatures_in, tensors_in
from stopgap.client.tensors import to_array, to_arrays
from stopgap.client.traits import traits_in
from stopgap.engines.container_folder import observed
from stopgap.engines.monitor.records import Status, read_container, read_status
from stopgap.errors import FrontError, PredictionError, SandboxError
from stopgap.front.admin import Admin
from stopgap.incidents import state_in
from stopgap.kept_requests import kept_in
from stopgap.readiness import read_ready
from stopgap_protos.saved_model_pb2 import SignatureDef, TensorInfo
from stopgap_protos.serving_pb2 import GetModelMetadataResponse, PredictResponse, SignatureDefMap
from stopgap_protos.tensor_pb2 import DataType, TensorProto
from stopgap_protos.traits_pb2 import ModelTraits

from tests.fuzz.request_targets import TENSOR
from tests.fuzz.target import Target

__all__ = ["ADMIN", "ANNOUNCEMENT", "ANSWER", "KEPT_REQUESTS", "METADATA", "RECORDS", "WORKERS_STATE"]


# --- Answers -------------------------------------------------------------------------------------------------------


def _check_answer(data: bytes) -> None:
    """One tensor by itself, and the parts of a sparse one."""
    with suppress(DecodeError, PredictionError):
        to_array(TensorProto.FromString(data))
    try:
        response = PredictResponse.FromString(data)
    except DecodeError:
        return
    with suppress(PredictionError):
        arrays = to_arrays(response.outputs)
        _densified(gathered(_SPARSE.outputs, checked(_SPARSE, arrays))["s"])


def _densified(value: SparseValue) -> None:
    """What a caller does with a sparse value first; only where the whole is small."""
    if all(size <= 8 for size in value.dense_shape.tolist()):
        np.zeros(tuple(value.dense_shape.tolist()), np.int64)[tuple(value.indices.T)] = value.values


_SPARSE = Signature(
    "serving_default",
    "",
    {},
    {
        f"s/{part}": TensorSpec(f"s/{part}", dtype_of(DataType.DT_INT64), shape)
        for part, shape in {"indices": (None, 2), "values": (None,), "dense_shape": (2,)}.items()
    },
)


def _sparse_answer() -> bytes:
    response = PredictResponse()
    parts = {"indices": ([0, 1, 1, 0], (2, 2)), "values": ([5, 6], (2,)), "dense_shape": ([2, 2], (2,))}
    for part, (values, shape) in parts.items():
        tensor = response.outputs[f"s/{part}"]
        tensor.dtype = DataType.DT_INT64
        tensor.int64_val.extend(values)
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
    return response.SerializeToString()


ANSWER = Target(
    "answer",
    _check_answer,
    seeds=(*TENSOR.seeds, _sparse_answer()),
    is_protobuf=True,
    bytes_for_each=64,
    fixed_bytes=260 << 20,  # what a short list of values may stand for
)


# --- Metadata ------------------------------------------------------------------------------------------------------


def _check_metadata(data: bytes) -> None:
    try:
        response = GetModelMetadataResponse.FromString(data)
    except DecodeError:
        return
    with suppress(PredictionError):
        _check_signatures(signatures_in(response))
    with suppress(PredictionError):
        traits = traits_in(response)
        traits.repeatable("serving_default")
        assert all(str(one) for features in traits.features.values() for one in features.values())
    with suppress(PredictionError):
        assert all(str(spec).isprintable() for spec in tensors_in(response, {"x": "stopgap:tensor:x"}).values())


def _check_signatures(signatures: dict[str, Signature]) -> None:
    _check_printable(lambda: choose(signatures, ""))
    for signature in signatures.values():
        _check_printable(partial(signature.check_names, ["x"]))


def _check_printable(ask: Callable[[], object]) -> None:
    """No name that a model has made up reaches a terminal as it is."""
    said = ""
    try:
        ask()
    except PredictionError as error:
        said = str(error)
    assert all(line.isprintable() for line in said.split("\n")), said


def _metadata() -> bytes:
    response = GetModelMetadataResponse()
    response.model_spec.name = "m"
    signature = SignatureDef(method_name="tensorflow/serving/predict")
    signature.inputs["x"].name, signature.inputs["x"].dtype = "x:0", DataType.DT_FLOAT
    signature.inputs["x"].tensor_shape.dim.add(size=-1)
    signature.outputs["y"].coo_sparse.indices_tensor_name = "y:0"
    signatures = SignatureDefMap(signature_def={"serving_default": signature})
    response.metadata["signature_def"].value = signatures.SerializeToString()
    traits = ModelTraits(state_changing=["serving_default"])
    example = traits.example_inputs.add(signature="serving_default", alias="x")
    example.features["f"].dtype = DataType.DT_INT64
    example.features["f"].shape.dim.add(size=2)
    response.metadata["stopgap"].value = traits.SerializeToString()
    response.metadata["stopgap:tensor:x"].value = TensorInfo(name="x:0").SerializeToString()
    return response.SerializeToString()


METADATA = Target(
    "metadata", _check_metadata, seeds=(_metadata(),), tokens=(b"\x1b[2J", b"serving_default"), is_protobuf=True
)


# --- Announcements and records -------------------------------------------------------------------------------------


def _check_announcement(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "ready.json").write_bytes(data)
        try:
            ready = read_ready(Path(name), most_workers=4)
        except SandboxError:
            return
    assert ready is not None
    assert 1 <= ready.workers <= 4
    assert ready.tensorflow.isprintable()


ANNOUNCEMENT = Target(
    "announcement",
    _check_announcement,
    seeds=(b'{"workers": 1, "changes_state": false, "tensorflow": "1.15.5"}',),
    tokens=(b"[" * 5000, b"1e999", b"NaN", b"1" * 5000, b"true", b"null", b"\\ud800", b'\\u001b[2J"'),
    bytes_for_each=400,
)


def _check_records(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("status.json", "container.json"):
            (folder / file).write_bytes(data)
        status = read_status(folder)
        for held in (True, False):
            observed({}, status, held)
        with suppress(OSError, ValueError, TypeError, KeyError):
            read_container(folder).command(in_group=True)


_STATUS = Status("running", "boot", "cgroup", pid=7, born=9, restarts=1)

RECORDS = Target(
    "records",
    _check_records,
    seeds=(
        json.dumps(_STATUS._asdict()).encode(),
        json.dumps(
            {
                "labels": {"a": "b"},
                "before": ["prlimit"],
                "rlimits": {"nproc": "5"},
                "stand_ins": {},
                "program": ["bwrap"],
                "limits": {"memory_mib": 1, "cpus": 1.0, "pids": 5},
                "group": "g",
                "sockets": None,
                "listeners": [],
                "grace_s": 1.0,
            }
        ).encode(),
    ),
    tokens=(b"[" * 5000, b"null", b"1" * 5000, b"{}", b'"state"', b'"exited"', b"\xff"),
    bytes_for_each=600,
)


# --- A sandbox's parent ----------------------------------------------------------------------------------------------


def _check_workers_state(data: bytes) -> None:
    with suppress(SandboxError):
        state = state_in(data, "m")
        texts = [text for each in state.incidents for text in (each.name, each.kind, each.worker, each.cause)]
        texts += [line for each in state.incidents for line in each.lines]
        assert all(text.isprintable() for text in (*state.counts, *texts))
        assert all(each.at.isoformat() for each in state.incidents)


WORKERS_STATE = Target(
    "workers_state",
    _check_workers_state,
    seeds=(
        json.dumps(
            {
                "workers": 1,
                "backing_off_s": 0.0,
                "quarantined": 1,
                "counts": {"died": 1},
                "incidents": [
                    {
                        "incident": "0123abcd",
                        "kind": "quarantined",
                        "at": 1.5e9,
                        "worker": "lane",
                        "cause": "SIGFPE",
                        "fingerprint": "00",
                        "request_bytes": 7,
                        "lines": ["a line"],
                    }
                ],
            }
        ).encode(),
    ),
    tokens=(b"[" * 5000, b"1e999", b"-1e999", b"NaN", b"1" * 5000, b"true", b"null", b"\\ud800", b'\\u001b[2J"'),
    bytes_for_each=600,
)


def _check_kept_requests(data: bytes) -> None:
    with suppress(SandboxError):
        for request in kept_in(data, "m"):
            assert request.path.isprintable()
            assert Path(request.file_name).name == request.file_name
            assert len(request.content) <= len(data)


KEPT_REQUESTS = Target(
    "kept_requests",
    _check_kept_requests,
    seeds=(b'{"incident": "0123abcd", "bytes": 18}\n' + b"\2\0\0\0\x08\0\0\0/p\0\0\0\0\3abc",),
    tokens=(b"[" * 5000, b"1" * 5000, b"../", b"null", b"-1", b"\xff\xff\xff\xff", b"/v1/"),
    bytes_for_each=600,
)


# --- Envoy's admin page --------------------------------------------------------------------------------------------


def _check_admin(data: bytes) -> None:
    """Every question to a socket that answers with these bytes."""
    with tempfile.TemporaryDirectory(prefix="admin-") as name, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{name}/admin.sock")
        listening.listen(16)
        admin = Admin(Path(name))
        answering = threading.Thread(target=_answer_all, args=(listening, data))
        answering.start()
        try:
            assert admin.ready() in (True, False)
            for ask in (admin.applied, lambda: admin.cluster_health("m"), admin.grpc_port, admin.rest_port):
                with suppress(FrontError):
                    ask()
            with suppress(FrontError):
                admin.wait_until_applied({"lds.json": "1"}, timeout_s=0)
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            answering.join()


def _answer_all(listening: socket.socket, data: bytes) -> None:
    while True:
        try:
            stream, _ = listening.accept()
        except OSError:
            return
        with stream, suppress(OSError):
            stream.recv(4096)
            stream.sendall(data)


def _page(content: object) -> bytes:
    body = json.dumps(content).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


ADMIN = Target(
    "admin",
    _check_admin,
    seeds=(
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nLIVE\n",
        _page({"stats": [{"name": "listener_manager.lds.version_text", "value": "1"}, {"name": "x", "value": 3}]}),
        _page({"cluster_statuses": [{"name": "m", "host_statuses": [{"health_status": {}}]}]}),
        _page(
            {"listener_statuses": [{"name": "grpc", "local_address": {"socket_address": {"port_value": 8500}}}]},
        ),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ),
    tokens=(
        *(b"HTTP/1.1 100 Continue\r\n\r\n", b"content-length: -1\r\n", b"content-length: 99999999999\r\n", b"[" * 5000),
        *(b"null", b"[]", b"1", b'"', b"{}", b"1" * 5000, b"\xff", b"transfer-encoding: chunked\r\n", b"HTTP/9.9 "),
        *(b"listener_manager.lds.update_rejected", b"cluster_manager.warming_clusters", b'"stats"', b'"m"', b'"grpc"'),
    ),
    bytes_for_each=800,
    fixed_bytes=36 << 20,  # the largest page, which is read into one buffer
)
