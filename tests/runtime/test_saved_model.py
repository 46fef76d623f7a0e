"""SavedModels read from disk: whole ones, odd ones and broken ones, and what their graphs need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from google.protobuf import text_format
from stopgap_protos.graph_pb2 import AttrValue, GraphDef, NameAttrList, NodeDef, OpDef
from stopgap_protos.saved_model_pb2 import SavedModel
from stopgap_protos.tensor_pb2 import DataType
from stopgap_runtime.capi import Bundle
from stopgap_runtime.contrib_ops import contrib_module
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.op_registry import OpRegistry, module_of
from stopgap_runtime.reach import reached_ops
from stopgap_runtime.saved_model import check_ops, read_meta_graph
from stopgap_runtime.signatures import TensorSpec
from stopgap_runtime.state import REPEATABLE, state_changing

from tests import zoo


@pytest.fixture(scope="module")
def legacy_registry(legacy_bundle: Path) -> OpRegistry:
    return OpRegistry.read(Bundle.read(legacy_bundle))


@pytest.fixture
def model() -> SavedModel:
    """The smallest model that has a signature."""
    model = SavedModel(saved_model_schema_version=1)
    meta_graph = model.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("serve")
    meta_graph.graph_def.node.add(name="x", op="Placeholder")
    x = meta_graph.signature_def["serving_default"].inputs["x"]
    x.name, x.dtype = "x:0", DataType.DT_FLOAT
    x.tensor_shape.dim.add(size=-1)
    x.tensor_shape.dim.add(size=3)
    return model


def saved(folder: Path, model: SavedModel, name: str = "saved_model.pb") -> Path:
    binary = name.endswith(".pb")
    (folder / name).write_bytes(model.SerializeToString() if binary else text_format.MessageToString(model).encode())
    return folder


def refusal(folder: Path, tags: frozenset[str] = frozenset({"serve"})) -> Fault:
    with pytest.raises(Fault) as refused:
        read_meta_graph(folder, tags)
    return refused.value


def test_a_text_model_reads_like_a_binary_one(tmp_path: Path, model: SavedModel) -> None:
    binary, text = tmp_path / "binary", tmp_path / "text"
    binary.mkdir()
    text.mkdir()
    saved(binary, model)
    saved(text, model, "saved_model.pbtxt")
    assert read_meta_graph(binary, {"serve"}).signatures == read_meta_graph(text, {"serve"}).signatures


def test_the_binary_form_is_taken_where_both_are_there(tmp_path: Path, model: SavedModel) -> None:
    saved(tmp_path, model)
    (tmp_path / "saved_model.pbtxt").write_text("not a model")
    assert read_meta_graph(tmp_path, {"serve"}).signatures.keys() == {"serving_default"}


def test_a_signature_has_a_free_dimension_where_the_file_says_minus_one(tmp_path: Path, model: SavedModel) -> None:
    signature = read_meta_graph(saved(tmp_path, model), {"serve"}).signatures["serving_default"]
    assert signature.inputs == {"x": TensorSpec("x", "x:0", DataType.DT_FLOAT, (None, 3))}


def test_a_sparse_input_is_three_dense_ones(tmp_path: Path, model: SavedModel) -> None:
    info = model.meta_graphs[0].signature_def["serving_default"].inputs["words"]
    info.dtype = DataType.DT_STRING
    info.tensor_shape.dim.add(size=-1)
    info.tensor_shape.dim.add(size=-1)
    info.coo_sparse.indices_tensor_name = "i:0"
    info.coo_sparse.values_tensor_name = "v:0"
    info.coo_sparse.dense_shape_tensor_name = "s:0"
    unranked = model.meta_graphs[0].signature_def["serving_default"].outputs["any"]
    unranked.CopyFrom(info)
    unranked.tensor_shape.Clear()
    unranked.tensor_shape.unknown_rank = True
    signature = read_meta_graph(saved(tmp_path, model), {"serve"}).signatures["serving_default"]
    assert [signature.inputs[f"words/{part}"] for part in ("indices", "values", "dense_shape")] == [
        TensorSpec("words/indices", "i:0", DataType.DT_INT64, (None, 2)),
        TensorSpec("words/values", "v:0", DataType.DT_STRING, (None,)),
        TensorSpec("words/dense_shape", "s:0", DataType.DT_INT64, (2,)),
    ]
    assert [signature.outputs[f"any/{part}"].shape for part in ("indices", "values", "dense_shape")] == [
        (None, None),
        (None,),
        (None,),
    ]


def test_ill_formed_signatures_survive_and_start_up_operations_are_hidden(tmp_path: Path, model: SavedModel) -> None:
    described = model.meta_graphs[0].signature_def
    described["empty"].SetInParent()
    described["no/dtype:at all"].inputs[""].SetInParent()
    described["variable"].outputs["v"].dtype = DataType.DT_FLOAT_REF
    described["__saved_model_init_op"].outputs["init"].name = "init"
    meta_graph = read_meta_graph(saved(tmp_path, model), {"serve"})
    assert meta_graph.signatures.keys() == {"serving_default", "empty", "no/dtype:at all", "variable"}
    assert meta_graph.signatures["no/dtype:at all"].inputs[""] == TensorSpec("", "", DataType.DT_INVALID, ())
    assert meta_graph.signatures["variable"].outputs["v"].dtype == DataType.DT_FLOAT
    assert meta_graph.signature_defs.keys() == described.keys()


def test_an_input_with_a_default_may_be_left_out(tmp_path: Path, model: SavedModel) -> None:
    model.meta_graphs[0].graph_def.node[0].op = "PlaceholderWithDefault"
    signature = read_meta_graph(saved(tmp_path, model), {"serve"}).signatures["serving_default"]
    assert signature.inputs["x"].optional


def test_the_graph_is_chosen_by_exactly_its_tags() -> None:
    folder = zoo.load("tpu_estimator_export_control").folder
    assert "TPUReplicateMetadata" not in read_meta_graph(folder, ["serve"]).ops
    assert "TPUReplicateMetadata" in read_meta_graph(folder, ["tpu", "serve"]).ops
    refused = refusal(folder, frozenset({"tpu"}))
    assert refused.code == Code.NOT_FOUND
    assert refused.text.endswith("no graph tagged tpu; it has: serve; serve,tpu")


def test_a_folder_without_a_model_is_said_to_be_one(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == Code.NOT_FOUND
    assert refusal(tmp_path / "absent").code == Code.NOT_FOUND


@pytest.mark.parametrize("content", [b"", b"not a protobuf at all", b"\x12\xff\xff\xff\xff\x0f"], ids=repr)
@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
def test_garbage_is_a_fault_that_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused = refusal(tmp_path)
    assert refused.code == Code.DATA_LOSS
    assert "saved_model" in refused.text


def test_a_model_that_is_cut_short_anywhere_is_a_fault_or_a_smaller_model(tmp_path: Path) -> None:
    whole = (zoo.load("stn_affine_resampler").folder / "saved_model.pb").read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / "saved_model.pb").write_bytes(whole[:length])
        assert refusal(tmp_path).code == Code.DATA_LOSS


def test_a_deeply_nested_text_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_text("meta_graphs {" * 100_000)
    assert refusal(tmp_path).code == Code.DATA_LOSS


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "saved_model.pb"
    path.mkdir()
    assert refusal(tmp_path).code == Code.DATA_LOSS
    path.rmdir()
    os.mkfifo(path)
    assert refusal(tmp_path).code == Code.DATA_LOSS
    path.unlink()
    for target in (path, Path("/dev/zero")):
        path.symlink_to(target)
        assert refusal(tmp_path).code == Code.DATA_LOSS
        path.unlink()


def test_a_file_of_two_gibibytes_is_not_even_begun(tmp_path: Path) -> None:
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.truncate(2**31)
    assert "2 GiB" in refusal(tmp_path).text


# --- Operations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_zoo_models_operations_are_known(legacy_registry: OpRegistry, name: str) -> None:
    check_ops(read_meta_graph(zoo.load(name).folder, {"serve"}).ops, legacy_registry.ops, "1.15.5")


def test_only_the_libraries_that_a_graph_needs_are_named(legacy_registry: OpRegistry) -> None:
    ops = read_meta_graph(zoo.load("dataset_map_libsvm").folder, {"serve"}).ops
    assert [library.name for library in legacy_registry.libraries_for(ops)] == ["_libsvm_ops.so"]  # in a function
    assert legacy_registry.libraries_for(["MatMul"]) == ()


def test_missing_operations_are_named_with_where_they_come_from() -> None:
    with pytest.raises(Fault) as refused:
        check_ops(["MatMul", "Resampler", "My\nOp"], ["MatMul"], "2.21.0")
    assert refused.value.code == Code.NOT_FOUND
    assert refused.value.text == (
        r"Op type not registered in TensorFlow 2.21.0: 'My\nOp' (a custom op: pass its library with --op-library FILE)"
        "; 'Resampler' (of tf.contrib.resampler)"
    )


def test_a_thousand_missing_operations_are_one_readable_line() -> None:
    with pytest.raises(Fault, match=r"; and 988 more$") as refused:
        check_ops([f"Op{number:04}" * 100 for number in range(1000)], [], "1.15.5")
    assert len(refused.value.text) < 2500


def test_the_contrib_modules_written_down_are_those_of_the_bundle(legacy_registry: OpRegistry) -> None:
    for op, library in legacy_registry.libraries.items():
        module = contrib_module(op)
        assert module in {None, module_of("lib/contrib/" + library.as_posix().split("/contrib/")[1])}
    assert {op for op in legacy_registry.libraries if contrib_module(op) is None} == {"ImageProjectiveTransformV2"}
    assert contrib_module("TensorForestTreePredict") == "tf.contrib.tensor_forest"  # built into 1.15, gone from 2


# --- State ---------------------------------------------------------------------------------------------------------

KNOWN = {
    op.name: op
    for op in (
        OpDef(name="Placeholder"),
        OpDef(name="Add"),
        OpDef(name="Assign", input_arg=[OpDef.ArgDef(name="ref", is_ref=True)]),
        OpDef(name="QueueDequeueV2", is_stateful=True),
        OpDef(name="RandomUniform", is_stateful=True),
        OpDef(name="StatefulPartitionedCall", is_stateful=True),
    )
}


def changed(*nodes: NodeDef, functions: dict[str, list[NodeDef]] | None = None) -> frozenset[str]:
    graph = GraphDef(node=nodes)
    for name, body in (functions or {}).items():
        graph.library.function.add(signature=OpDef(name=name), node_def=body)
    return state_changing(reached_ops(graph, ["x:0"], ["y:0"]), KNOWN)


def test_random_numbers_are_no_state_and_queues_are() -> None:
    assert changed(NodeDef(name="y", op="RandomUniform")) == frozenset()
    assert changed(NodeDef(name="y", op="QueueDequeueV2")) == {"QueueDequeueV2"}


def test_what_nobody_knows_counts_as_changing_state() -> None:
    assert changed(NodeDef(name="y", op="Mystery")) == {"Mystery"}


def test_state_is_found_behind_data_and_control_edges_but_not_before_a_fed_tensor() -> None:
    assign = NodeDef(name="a", op="Assign")
    assert changed(NodeDef(name="y", op="Add", input=["b:1"]), NodeDef(name="b", op="Add", input=["a"]), assign)
    assert changed(NodeDef(name="y", op="Add", input=["^a"]), assign)
    x = NodeDef(name="x", op="Placeholder", input=["a"])
    assert changed(NodeDef(name="y", op="Add", input=["x"]), x, assign) == frozenset()
    assert changed(NodeDef(name="y", op="Add"), assign) == frozenset()


def test_state_is_found_in_called_functions_and_in_what_they_call() -> None:
    call = NodeDef(name="y", op="StatefulPartitionedCall", attr={"f": AttrValue(func=NameAttrList(name="f"))})
    functions = {"f": [NodeDef(name="g", op="g")], "g": [NodeDef(name="q", op="QueueDequeueV2")], "h": []}
    assert changed(call, functions=functions) == {"QueueDequeueV2"}
    assert changed(call, functions={"f": [NodeDef(name="f", op="f")]}) == frozenset()  # it calls itself


def test_cycles_and_missing_nodes_end_the_search() -> None:
    assert changed(NodeDef(name="y", op="Add", input=["y", "nobody:0", ""])) == frozenset()


def test_the_list_of_repeatable_operations_names_real_ones(legacy_registry: OpRegistry, modern_bundle: Path) -> None:
    modern = OpRegistry.read(Bundle.read(modern_bundle))
    assert REPEATABLE - {"PartitionedCall"} <= legacy_registry.ops.keys() | modern.ops.keys()
