"""Which features a graph parses out of the serialised tf.Examples that it is fed. It reads graphs and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stopgap_protos.tensor_pb2 import DataType
from stopgap_protos.traits_pb2 import ExampleInput, FeatureSpec

from .faults import Fault
from .tensors import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stopgap_protos.graph_pb2 import GraphDef, NodeDef

    from .signatures import Signature

__all__ = ["example_inputs"]

_LARGEST_TEXT_BYTES: Final = 64 << 10  # of a feature's key: a constant of some bytes may describe gigabytes
# What may stand between an input and the operation that parses it without changing what is parsed.
_PASS_ON: Final = frozenset({"Identity", "Reshape", "ExpandDims", "Squeeze", "PlaceholderWithDefault"})


def example_inputs(graph: GraphDef, signatures: Mapping[str, Signature]) -> list[ExampleInput]:
    """The signatures' inputs that are parsed as tf.Examples, each with the features that are looked for in it.

    What a damaged graph says of its features is left out: TensorFlow itself will say it better.
    """
    nodes = {node.name: node for node in graph.node}
    parsed: dict[str, dict[str, FeatureSpec]] = {}
    for node in nodes.values():
        if node.op in _FEATURES_OF:
            parsed.setdefault(_fed(node, nodes), {}).update(_FEATURES_OF[node.op](node, nodes))
    return [
        ExampleInput(signature=key, alias=alias, features=parsed[fed])
        for key, signature in signatures.items()
        for alias, spec in signature.inputs.items()
        if spec.dtype == DataType.DT_STRING and parsed.get(fed := _node_name(spec.tensor_name))
    ]


def _fed(parser: NodeDef, nodes: Mapping[str, NodeDef]) -> str:
    """The name of the node whose texts are parsed."""
    name, seen = _node_name(parser.input[0]) if parser.input else "", set[str]()
    while name in nodes and name not in seen and nodes[name].op in _PASS_ON and nodes[name].input:
        seen.add(name)
        name = _node_name(nodes[name].input[0])
    return name


def _parse_example(node: NodeDef, nodes: Mapping[str, NodeDef]) -> Iterator[tuple[str, FeatureSpec]]:
    """Of ParseExample, whose inputs are the texts, their names, the keys of both kinds, and the defaults."""
    sparse, dense = node.attr["Nsparse"].i, node.attr["Ndense"].i
    keys = [_text(nodes.get(_node_name(edge))) for edge in node.input[2 : 2 + sparse + dense]]
    yield from _sparse(keys[:sparse], node)
    yield from _dense(keys[sparse:], node, [nodes.get(_node_name(edge)) for edge in node.input[2 + sparse + dense :]])


def _parse_single_example(node: NodeDef, nodes: Mapping[str, NodeDef]) -> Iterator[tuple[str, FeatureSpec]]:
    """Of ParseSingleExample, whose keys are attributes."""
    sparse, dense = (
        [key.decode("utf-8", "replace") for key in node.attr[name].list.s] for name in ("sparse_keys", "dense_keys")
    )
    yield from _sparse(sparse, node)
    yield from _dense(dense, node, [nodes.get(_node_name(edge)) for edge in node.input[1:]])


_FEATURES_OF: Final = {"ParseExample": _parse_example, "ParseSingleExample": _parse_single_example}


def _sparse(keys: list[str], node: NodeDef) -> Iterator[tuple[str, FeatureSpec]]:
    for key, dtype in zip(keys, node.attr["sparse_types"].list.type):
        yield key, FeatureSpec(dtype=dtype, any_length=True)


def _dense(keys: list[str], node: NodeDef, defaults: list[NodeDef | None]) -> Iterator[tuple[str, FeatureSpec]]:
    described = zip(keys, node.attr["Tdense"].list.type, node.attr["dense_shapes"].list.shape, defaults)
    for key, dtype, shape, default in described:
        any_length = any(dim.size < 0 for dim in shape.dim)
        yield key, FeatureSpec(dtype=dtype, any_length=any_length, shape=shape, required=_is_empty(default))


def _is_empty(default: NodeDef | None) -> bool:
    """An empty constant stands for "no default"."""
    if default is None or default.op != "Const":
        return False
    return any(dim.size == 0 for dim in default.attr["value"].tensor.tensor_shape.dim)


def _text(constant: NodeDef | None) -> str:
    if constant is None or constant.op != "Const":
        return ""
    try:
        texts = decode(constant.attr["value"].tensor, constant.name, largest_bytes=_LARGEST_TEXT_BYTES).data
    except Fault:
        return ""
    return texts[0].decode("utf-8", "replace") if isinstance(texts, list) and texts else ""


def _node_name(edge: str) -> str:
    """`x` of `x:0`, of `x` and of the control edge `^x`."""
    return edge.lstrip("^").rpartition(":")[0] or edge.lstrip("^")
