"""Candidates that are known to be wrong, and how: real models with a changed graph, and recorded answers.

A model's last layer is changed without touching its variables: what is added stands behind them in the graph.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from stopgap_protos.graph_pb2 import AttrValue, GraphDef, NodeDef
from stopgap_protos.saved_model_pb2 import SavedModel, SignatureDef
from stopgap_protos.tensor_pb2 import DataType, TensorProto

__all__ = ["BIASED", "NOISY", "PERMUTED", "changed_model", "with_wrong_rows"]

NOISY, PERMUTED, BIASED = "noisy", "permuted", "biased"
NOISE, BIAS = 0.003, 0.05
_FLOAT = AttrValue(type=DataType.DT_FLOAT)
_INT32 = AttrValue(type=DataType.DT_INT32)


def changed_model(model: Path, folder: Path, output: str) -> Path:
    """A copy of a model with a signature for each change: `noisy`, `permuted` and `biased`.

    Args:
        model: The folder of a SavedModel whose output is a layer's sum of a product and a bias.
        folder: Where the copy is to be.
        output: That output's name.
    """
    shutil.copytree(model, folder)
    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graph, signatures = saved.meta_graphs[0].graph_def, saved.meta_graphs[0].signature_def
    serving = signatures["serving_default"]
    scores = serving.outputs[output].name.partition(":")[0]
    classes = kernel_of(graph, scores)[1][1]
    changes = {
        NOISY: noisy_layer(graph, scores),
        PERMUTED: node(
            graph,
            *("changed/permuted", "GatherV2", scores),
            *(
                constant(graph, "changed/order", np.roll(np.arange(classes, dtype=np.int32), -1)),
                constant(graph, "changed/axis", np.int32(1)),
            ),
            Tparams=_FLOAT,
            Tindices=_INT32,
            Taxis=_INT32,
        ),
        BIASED: node(
            graph, "changed/biased", "Add", scores, constant(graph, "changed/bias", np.float32(BIAS)), T=_FLOAT
        ),
    }
    for name, changed in changes.items():
        signature = SignatureDef()
        signature.CopyFrom(serving)
        signature.outputs[output].name = f"{changed}:0"
        signatures[name].CopyFrom(signature)
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    return folder


def kernel_of(graph: GraphDef, scores: str) -> tuple[str, tuple[int, int]]:
    """Of the layer that makes the scores, and its shape: what goes in, and the classes."""
    nodes = {each.name: each for each in graph.node}
    kernel = nodes[nodes[scores].input[0]].input[1]
    rows, classes = (dim.size for dim in nodes[nodes[kernel].input[0]].attr["shape"].shape.dim)
    return kernel, (rows, classes)


def noisy_layer(graph: GraphDef, scores: str) -> str:
    """The layer once more, by its kernel and normal noise of `NOISE` times the kernel's standard deviation."""
    nodes = {each.name: each for each in graph.node}
    bias_add = nodes[scores]
    product = nodes[bias_add.input[0]]
    kernel, shape = kernel_of(graph, scores)
    noise = np.random.default_rng(17).standard_normal(shape).astype(np.float32) * np.float32(NOISE)
    both = constant(graph, "changed/axes", np.array([0, 1], np.int32))
    reduced = {"T": _FLOAT, "Tidx": _INT32, "keep_dims": AttrValue(b=False)}
    mean = node(graph, "changed/mean", "Mean", kernel, both, **reduced)
    apart = node(graph, "changed/apart", "Sub", kernel, mean, T=_FLOAT)
    squares = node(graph, "changed/squares", "Square", apart, T=_FLOAT)
    variance = node(graph, "changed/variance", "Mean", squares, both, **reduced)
    deviation = node(graph, "changed/deviation", "Sqrt", variance, T=_FLOAT)
    added = node(graph, "changed/added", "Mul", constant(graph, "changed/noise", noise), deviation, T=_FLOAT)
    noisy = node(graph, "changed/kernel", "Add", kernel, added, T=_FLOAT)
    again = copied(graph, product, "changed/product", [product.input[0], noisy])
    return copied(graph, bias_add, "changed/noisy", [again, bias_add.input[1]])


def copied(graph: GraphDef, original: NodeDef, name: str, inputs: Sequence[str]) -> str:
    made = graph.node.add()
    made.CopyFrom(original)
    made.name = name
    made.input[:] = inputs
    return name


def constant(graph: GraphDef, name: str, value: NDArray[np.generic] | np.generic) -> str:
    array = np.asarray(value)
    dtype = DataType.DT_FLOAT if array.dtype == np.float32 else DataType.DT_INT32
    tensor = TensorProto(dtype=dtype, tensor_content=array.tobytes())
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return node(graph, name, "Const", dtype=AttrValue(type=dtype), value=AttrValue(tensor=tensor))


def node(graph: GraphDef, name: str, op: str, *inputs: str, **attributes: AttrValue) -> str:
    made = graph.node.add(name=name, op=op, input=inputs)
    for key, value in attributes.items():
        made.attr[key].CopyFrom(value)
    return name


def with_wrong_rows(scores: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """The same, with the highest and the lowest of a row exchanged in exactly that share of the rows."""
    wrong = scores.copy()
    rows = np.random.default_rng(19).choice(len(scores), round(share * len(scores)), replace=False)
    highest, lowest = scores[rows].argmax(axis=1), scores[rows].argmin(axis=1)
    wrong[rows, highest], wrong[rows, lowest] = scores[rows, lowest], scores[rows, highest]
    return wrong
