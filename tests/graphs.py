"""SavedModels made for tests, node by node, without TensorFlow: they run for as long, or give back what, one asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stopgap.client.tensors import to_proto
from stopgap_protos.graph_pb2 import AttrValue, GraphDef
from stopgap_protos.saved_model_pb2 import SavedModel, SignatureDef, TensorInfo
from stopgap_protos.tensor_pb2 import DataType, TensorProto, TensorShapeProto

NEVER_ENDS = 2**62
_INT64 = AttrValue(type=DataType.DT_INT64)
_INT32 = AttrValue(type=DataType.DT_INT32)
_FLOAT = AttrValue(type=DataType.DT_FLOAT)
_SCALAR = TensorShapeProto()
_ANY_SHAPE = TensorShapeProto(unknown_rank=True)


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


def remainder(folder: Path) -> Path:
    """A model that divides whole numbers, and knows two ways to harm whoever runs it.

    `serving_default` gives the remainder `r` of `x` by `y` (int32, of the same shape); the least number by -1 ends its
    process, by SIGFPE. `fill` gives the `sum` of so many ones (float) as its `n` says (int64 scalar), all in memory.
    """
    graph = GraphDef()
    graph.versions.producer = 134
    for alias in ("x", "y"):
        _node(graph, alias, "Placeholder", dtype=_INT32, shape=AttrValue(shape=_ANY_SHAPE))
    _node(graph, "r", "FloorMod", "x", "y", T=_INT32)
    _node(graph, "n", "Placeholder", dtype=_INT64, shape=AttrValue(shape=_SCALAR))
    _constant(graph, "axis", 0)
    _node(graph, "dims", "ExpandDims", "n", "axis", T=_INT64, Tdim=_INT64)
    one = TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=_SCALAR, float_val=[1.0])
    _node(graph, "one", "Const", dtype=_FLOAT, value=AttrValue(tensor=one))
    _node(graph, "ones", "Fill", "dims", "one", T=_FLOAT, index_type=_INT64)
    _node(graph, "sum", "Sum", "ones", "axis", T=_FLOAT, Tidx=_INT64, keep_dims=AttrValue(b=False))

    def whole(name: str) -> TensorInfo:
        return TensorInfo(name=f"{name}:0", dtype=DataType.DT_INT32, tensor_shape=_ANY_SHAPE)

    n = TensorInfo(name="n:0", dtype=DataType.DT_INT64, tensor_shape=_SCALAR)
    total = TensorInfo(name="sum:0", dtype=DataType.DT_FLOAT, tensor_shape=_SCALAR)
    fill = SignatureDef(inputs={"n": n}, outputs={"sum": total}, method_name="tensorflow/serving/predict")
    return _written(folder, graph, {"x": whole("x"), "y": whole("y")}, {"r": whole("r")}, {"fill": fill})


def file_reader(folder: Path, path: str) -> Path:
    """A model that reads a file, always the same, and gives its `content`; its input `x` (int64) is for nothing."""
    graph = GraphDef()
    graph.versions.producer = 134
    string = AttrValue(type=DataType.DT_STRING)
    _node(graph, "x", "Placeholder", dtype=_INT64, shape=AttrValue(shape=_SCALAR))
    name = TensorProto(dtype=DataType.DT_STRING, tensor_shape=_SCALAR, string_val=[path.encode()])
    _node(graph, "path", "Const", dtype=string, value=AttrValue(tensor=name))
    _node(graph, "content", "ReadFile", "path")
    x = TensorInfo(name="x:0", dtype=DataType.DT_INT64, tensor_shape=_SCALAR)
    content = TensorInfo(name="content:0", dtype=DataType.DT_STRING, tensor_shape=_SCALAR)
    return _written(folder, graph, {"x": x}, {"content": content})


def mean_of_all(folder: Path) -> Path:
    """A model whose input `x` (float, of any shape) gives one number, its `mean`: much in, little out."""
    graph = GraphDef()
    graph.versions.producer = 134
    _node(graph, "x", "Placeholder", dtype=_FLOAT, shape=AttrValue(shape=_ANY_SHAPE))
    _constant(graph, "axis", 0)
    _constant(graph, "all", -1)
    _node(graph, "one_row", "ExpandDims", "all", "axis", T=_INT64, Tdim=_INT64)
    _node(graph, "row", "Reshape", "x", "one_row", T=_FLOAT, Tshape=_INT64)
    _node(graph, "mean", "Mean", "row", "axis", T=_FLOAT, Tidx=_INT64, keep_dims=AttrValue(b=False))
    x = TensorInfo(name="x:0", dtype=DataType.DT_FLOAT, tensor_shape=_ANY_SHAPE)
    mean = TensorInfo(name="mean:0", dtype=DataType.DT_FLOAT, tensor_shape=_SCALAR)
    return _written(folder, graph, {"x": x}, {"mean": mean})


def digits(folder: Path) -> Path:
    """A small classifier of one of tf.contrib's operations and the usual rest: `image` (float, [n, 28, 28, 1]) gives
    `probs` ([n, 10]).

    It learns by how much to move an image (a spatial transformer that translates), has the Resampler move it, and
    classifies it by three dense layers, LeNet-300-100 (LeCun et al., Gradient-based learning applied to document
    recognition, 1998). The weights are drawn.
    """
    graph = GraphDef()
    graph.versions.producer = 134
    draw = np.random.default_rng(28)
    image = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in (-1, 28, 28, 1)])
    _node(graph, "image", "Placeholder", dtype=_FLOAT, shape=AttrValue(shape=image))
    _reshaped(graph, "pixels", "image", -1, 784)
    _dense(graph, "shift", "pixels", draw.normal(0, 0.01, (784, 2)))
    _reshaped(graph, "shifts", "shift", -1, 1, 2)
    _array(graph, "grid", np.stack(np.meshgrid(np.arange(28), np.arange(28)), axis=-1).reshape(1, 784, 2))
    _node(graph, "warp", "Add", "grid", "shifts", T=_FLOAT)
    _node(graph, "moved", "Resampler", "image", "warp", T=_FLOAT)
    _reshaped(graph, "moved_pixels", "moved", -1, 784)
    layer = "moved_pixels"
    for wide, narrow in ((784, 300), (300, 100)):
        _dense(graph, f"dense_{narrow}", layer, draw.normal(0, wide**-0.5, (wide, narrow)))
        layer = f"relu_{narrow}"
        _node(graph, layer, "Relu", f"dense_{narrow}", T=_FLOAT)
    _dense(graph, "dense_10", layer, draw.normal(0, 0.1, (100, 10)))
    _node(graph, "probs", "Softmax", "dense_10", T=_FLOAT)
    ten = TensorShapeProto(dim=[TensorShapeProto.Dim(size=-1), TensorShapeProto.Dim(size=10)])
    inputs = {"image": TensorInfo(name="image:0", dtype=DataType.DT_FLOAT, tensor_shape=image)}
    outputs = {"probs": TensorInfo(name="probs:0", dtype=DataType.DT_FLOAT, tensor_shape=ten)}
    return _written(folder, graph, inputs, outputs)


def echo(
    folder: Path, tensors: Mapping[str, tuple[DataType, Sequence[int] | None]], *, optional: Collection[str] = ()
) -> Path:
    """A model that gives every input back as the output of its name.

    Args:
        tensors: By alias the dtype and the shape, -1 for a free dimension; None for any shape.
        optional: Aliases of inputs that may be left out: integers, then, of which the graph has 7 scalar.
    """
    graph = GraphDef()
    graph.versions.producer = 134
    inputs, outputs = {}, {}
    for number, (alias, (dtype, sizes)) in enumerate(tensors.items()):
        shape = _ANY_SHAPE if sizes is None else TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in sizes])
        attributes = {"dtype": AttrValue(type=dtype), "shape": AttrValue(shape=shape)}
        if alias in optional:
            _constant(graph, f"default{number}", 7)
            _node(graph, f"in{number}", "PlaceholderWithDefault", f"default{number}", **attributes)
        else:
            _node(graph, f"in{number}", "Placeholder", **attributes)
        _node(graph, f"out{number}", "Identity", f"in{number}", T=AttrValue(type=dtype))
        inputs[alias] = TensorInfo(name=f"in{number}:0", dtype=dtype, tensor_shape=shape)
        outputs[alias] = TensorInfo(name=f"out{number}:0", dtype=dtype, tensor_shape=shape)
    return _written(folder, graph, inputs, outputs)


def sparse_echo(folder: Path) -> Path:
    """A model that gives its sparse matrix `sp` of floats back."""
    graph = GraphDef()
    graph.versions.producer = 134
    for part, dtype in (("indices", _INT64), ("values", _FLOAT), ("dense_shape", _INT64)):
        _node(graph, part, "Placeholder", dtype=dtype, shape=AttrValue(shape=_ANY_SHAPE))
        _node(graph, f"same_{part}", "Identity", part, T=dtype)

    def described(prefix: str) -> TensorInfo:
        info = TensorInfo(dtype=DataType.DT_FLOAT)
        info.tensor_shape.dim.extend([TensorShapeProto.Dim(size=-1), TensorShapeProto.Dim(size=-1)])
        info.coo_sparse.indices_tensor_name = f"{prefix}indices:0"
        info.coo_sparse.values_tensor_name = f"{prefix}values:0"
        info.coo_sparse.dense_shape_tensor_name = f"{prefix}dense_shape:0"
        return info

    return _written(folder, graph, {"sp": described("")}, {"sp": described("same_")})


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


def _dense(graph: GraphDef, name: str, layer: str, weights: NDArray[np.float64]) -> None:
    no = AttrValue(b=False)
    _array(graph, f"{name}/weights", weights)
    _array(graph, f"{name}/bias", np.zeros(weights.shape[1]))
    _node(graph, f"{name}/product", "MatMul", layer, f"{name}/weights", T=_FLOAT, transpose_a=no, transpose_b=no)
    _node(graph, name, "BiasAdd", f"{name}/product", f"{name}/bias", T=_FLOAT)


def _reshaped(graph: GraphDef, name: str, layer: str, *sizes: int) -> None:
    tensor = to_proto(np.array(sizes, np.int32))
    _node(graph, f"{name}/shape", "Const", dtype=_INT32, value=AttrValue(tensor=tensor))
    _node(graph, name, "Reshape", layer, f"{name}/shape", T=_FLOAT, Tshape=_INT32)


def _array(graph: GraphDef, name: str, values: NDArray[Any]) -> None:
    """A constant of floats."""
    _node(graph, name, "Const", dtype=_FLOAT, value=AttrValue(tensor=to_proto(values.astype(np.float32))))


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
    def described(tensors: Mapping[str, str]) -> dict[str, TensorInfo]:
        return {alias: TensorInfo(name=name, dtype=dtype, tensor_shape=shape) for alias, name in tensors.items()}

    return _written(folder, graph, described(inputs), described(outputs))


def _written(
    folder: Path,
    graph: GraphDef,
    inputs: Mapping[str, TensorInfo],
    outputs: Mapping[str, TensorInfo],
    more: Mapping[str, SignatureDef] = MappingProxyType({}),
) -> Path:
    model = SavedModel(saved_model_schema_version=1)
    meta = model.meta_graphs.add(graph_def=graph)
    meta.meta_info_def.tags.append("serve")
    meta.signature_def["serving_default"].CopyFrom(
        SignatureDef(inputs=inputs, outputs=outputs, method_name="tensorflow/serving/predict")
    )
    for key, signature in more.items():
        meta.signature_def[key].CopyFrom(signature)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder
