"""What a hostile model brings along: its files as bytes, its signatures, what its worker prints and reports."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from stopgap_protos.saved_model_pb2 import SavedModel
from stopgap_protos.tensor_pb2 import DataType
from stopgap_runtime.example_keys import example_inputs
from stopgap_runtime.faults import Fault
from stopgap_runtime.given_signatures import parse_given, signature_def
from stopgap_runtime.out_of_reach import out_of_reach
from stopgap_runtime.reach import reached_ops
from stopgap_runtime.saved_model import MetaGraph, check_ops, read_meta_graph
from stopgap_runtime.servable import _synthetic
from stopgap_runtime.state import state_changing
from stopgap_runtime.worker_log import WorkerLog
from stopgap_runtime.worker_process import described_failure

from tests.fuzz.target import Target

__all__ = ["GIVEN_SIGNATURES", "SAVED_MODEL", "SAVED_MODEL_TEXT", "WORKER_WORDS"]


def _check_saved_model(data: bytes, name: str = "saved_model.pb") -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        try:
            meta_graph = read_meta_graph(Path(folder), {"serve"})
        except Fault:
            return
    _check_meta_graph(meta_graph)


def _check_meta_graph(meta_graph: MetaGraph) -> None:
    with suppress(Fault):
        check_ops(meta_graph.ops, set(), "1.15.5")
    example_inputs(meta_graph.graph, meta_graph.signatures)
    for signature in meta_graph.signatures.values():
        used = reached_ops(
            meta_graph.graph,
            [spec.tensor_name for spec in signature.inputs.values()],
            [spec.tensor_name for spec in signature.outputs.values()],
        )
        assert used <= meta_graph.ops
        state_changing(used, {})
        out_of_reach(used)
        _synthetic(signature)
        signature_def(signature).SerializeToString()


def _saved_model() -> SavedModel:
    """A graph that parses tf.Examples, with every kind of signature."""
    model = SavedModel(saved_model_schema_version=1)
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    signature = graph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    signature.inputs["x"].name = "x:0"
    signature.inputs["x"].dtype = DataType.DT_STRING
    signature.inputs["x"].tensor_shape.dim.add(size=-1)
    sparse = signature.outputs["y"]
    sparse.coo_sparse.indices_tensor_name, sparse.coo_sparse.values_tensor_name = "y:0", "y:1"
    sparse.coo_sparse.dense_shape_tensor_name, sparse.dtype = "y:2", DataType.DT_FLOAT_REF
    nodes = graph.graph_def.node
    nodes.add(name="x", op="Placeholder")
    nodes.add(name="names", op="Const")
    for key in ("sparse", "dense", "default"):
        constant = nodes.add(name=key, op="Const").attr["value"].tensor
        constant.dtype = DataType.DT_STRING
        constant.string_val.append(key.encode())
    parser = nodes.add(name="y", op="ParseExample", input=["x", "names", "sparse", "dense", "default", "^x"])
    parser.attr["Nsparse"].i = parser.attr["Ndense"].i = 1
    parser.attr["sparse_types"].list.type.append(DataType.DT_INT64)
    parser.attr["Tdense"].list.type.append(DataType.DT_FLOAT)
    parser.attr["dense_shapes"].list.shape.add().dim.add(size=2)
    single = nodes.add(name="z", op="ParseSingleExample", input=["x", "default"])
    single.attr["sparse_keys"].list.s.append(b"a")
    single.attr["sparse_types"].list.type.append(DataType.DT_STRING)
    function = graph.graph_def.library.function.add()
    function.signature.name = "f"
    function.node_def.add(name="call", op="f").attr["f"].func.name = "f"
    return model


_MODEL = _saved_model()

SAVED_MODEL = Target(
    "saved_model",
    _check_saved_model,
    seeds=(_MODEL.SerializeToString(),),
    tokens=(b"ParseExample", b"Identity", b"x:0", b"^x", b"serve"),
    is_protobuf=True,
)
SAVED_MODEL_TEXT = Target(
    "saved_model_text",
    lambda data: _check_saved_model(data, "saved_model.pbtxt"),
    seeds=(str(_MODEL).encode(),),
    tokens=(
        *(b"{", b"}", b"<", b">", b"[", b"]", b":", b'"', b"'", b"\\", b"\\xff", b"\\u12345678", b"1e999", b"-"),
        *(b"[type.googleapis.com/stopgap.wire.SavedModel] {", b"[a.b]: 1", b"nan", b"0x", b"99999999999999999999"),
        *(b"meta_graphs {" * 300, b"unknown { a: 1 }", b"unknown <", b"# x\n", b"\xff", b"tags: ", b"key: 1"),
    ),
    bytes_for_each=3000,
)


def _check_given(data: bytes) -> None:
    with suppress(ValueError):
        for given in parse_given(data.decode("utf-8", "surrogateescape")):
            assert all(isinstance(name, str) for names in given[1:] for name in names.values())


GIVEN_SIGNATURES = Target(
    "given_signatures",
    _check_given,
    seeds=(json.dumps({"one": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}}).encode(),),
    tokens=(b"{", b"}", b"[" * 3000, b'"inputs"', b"null", b"1" * 5000, b"NaN"),
    bytes_for_each=400,
)


def _check_worker_words(data: bytes) -> None:
    """What a worker prints and reports is text of one line each, whatever it is."""
    described_failure(data.decode("latin-1"))
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    lines: list[str] = []
    log = WorkerLog(reader, lines.append)
    for start in range(0, len(data), 4096):
        os.write(writer, data[start : start + 4096])
        log.read()
    os.close(writer)
    log.close()
    assert all(line.isprintable() for line in lines)
    assert len(lines) <= 1002
    assert not lines or max(map(len, lines)) <= 2048 * 10


WORKER_WORDS = Target(
    "worker_words",
    _check_worker_words,
    seeds=(b"[parent] load failed: INTERNAL: x\n3 invalid\n\x1b[2J\xff\xfe\n" + "größer\u202e\n".encode(),),
    tokens=(b"\n" * 3000, b"\0", b"\x1b", b"\xf0\x9f", b"x" * 5000),
)
