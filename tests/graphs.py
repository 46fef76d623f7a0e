"""SavedModels made for tests, node by node, without TensorFlow: graphs that run as long as they are asked to."""

from __future__ import annotations

from pathlib import Path

from stopgap_protos.graph_pb2 import AttrValue, GraphDef
from stopgap_protos.saved_model_pb2 import SavedModel
from stopgap_protos.tensor_pb2 import DataType, TensorProto, TensorShapeProto

NEVER_ENDS = 2**62
_INT64 = AttrValue(type=DataType.DT_INT64)
_FLOAT = AttrValue(type=DataType.DT_FLOAT)
_SCALAR = TensorShapeProto()


def counting_loop(folder: Path, *, at_least: int = 0) -> Path:
    """A model that counts from 0 to its input `limit` (int64 scalar), one step after the other, and answers `count`.

    Args:
        at_least: Added to every limit: with 100,000 even the warm-up's zero takes long enough not to count as short.
    """
    graph = GraphDef()
    graph.versions.producer = 134  # TensorFlow 1.15's
    _node(graph, "limit", "Placeholder", dtype=_INT64, shape=AttrValue(shape=TensorShapeProto()))
    _constant(graph, "base", at_least)
    _node(graph, "total", "Add", "limit", "base", T=_INT64)
    _constant(graph, "zero", 0)
    frame = {"T": _INT64, "frame_name": AttrValue(s=b"loop"), "parallel_iterations": AttrValue(i=1)}
    _node(graph, "enter", "Enter", "zero", is_constant=AttrValue(b=False), **frame)
    _node(graph, "enter_total", "Enter", "total", is_constant=AttrValue(b=True), **frame)
    _node(graph, "merge", "Merge", "enter", "next", T=_INT64, N=AttrValue(i=2))
    _node(graph, "less", "Less", "merge", "enter_total", T=_INT64)
    _node(graph, "condition", "LoopCond", "less")
    _node(graph, "switch", "Switch", "merge", "condition", T=_INT64)
    _node(graph, "body", "Identity", "switch:1", T=_INT64)
    _constant(graph, "one", 1, "^body")
    _node(graph, "add", "Add", "body", "one", T=_INT64)
    _node(graph, "next", "NextIteration", "add", T=_INT64)
    _node(graph, "exit", "Exit", "switch", T=_INT64)
    return _saved(folder, graph, inputs={"limit": "limit:0"}, outputs={"count": "exit:0"})


def matrix_square(folder: Path) -> Path:
    """A model that multiplies its input `x` (float, of rank 2) with itself: one kernel, which may take long."""
    graph = GraphDef()
    graph.versions.producer = 134
    free = TensorShapeProto(dim=[TensorShapeProto.Dim(size=-1), TensorShapeProto.Dim(size=-1)])
    _node(graph, "x", "Placeholder", dtype=_FLOAT, shape=AttrValue(shape=free))
    no = AttrValue(b=False)
    _node(graph, "y", "MatMul", "x", "x", T=_FLOAT, transpose_a=no, transpose_b=no)
    return _saved(folder, graph, inputs={"x": "x:0"}, outputs={"y": "y:0"}, dtype=DataType.DT_FLOAT, shape=free)


def custom_op(folder: Path, op: str) -> Path:
    """A model whose only operation beside its input is `op`, from int64 to int64 of the same shape."""
    graph = GraphDef()
    graph.versions.producer = 134
    _node(graph, "x", "Placeholder", dtype=_INT64, shape=AttrValue(shape=TensorShapeProto()))
    _node(graph, "y", op, "x")
    return _saved(folder, graph, inputs={"x": "x:0"}, outputs={"y": "y:0"})


def _node(graph: GraphDef, name: str, op: str, *inputs: str, **attributes: AttrValue) -> None:
    node = graph.node.add(name=name, op=op, input=inputs)
    for key, value in attributes.items():
        node.attr[key].CopyFrom(value)


def _constant(graph: GraphDef, name: str, value: int, *controls: str) -> None:
    tensor = TensorProto(dtype=DataType.DT_INT64, tensor_shape=TensorShapeProto(), int64_val=[value])
    _node(graph, name, "Const", *controls, dtype=_INT64, value=AttrValue(tensor=tensor))


def _saved(
    folder: Path,
    graph: GraphDef,
    inputs: dict[str, str],
    outputs: dict[str, str],
    *,
    dtype: DataType = DataType.DT_INT64,
    shape: TensorShapeProto = _SCALAR,
) -> Path:
    model = SavedModel(saved_model_schema_version=1)
    meta = model.meta_graphs.add(graph_def=graph)
    meta.meta_info_def.tags.append("serve")
    signature = meta.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for infos, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for alias, tensor in tensors.items():
            infos[alias].name = tensor
            infos[alias].dtype = dtype
            infos[alias].tensor_shape.CopyFrom(shape)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder
