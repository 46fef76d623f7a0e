"""What runs when a part of a graph is fetched: along edges and into functions. It reads graphs and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from stopgap_protos.graph_pb2 import AttrValue, GraphDef, NodeDef

__all__ = ["reached_ops"]


def reached_ops(graph: GraphDef, inputs: Iterable[str], outputs: Iterable[str]) -> frozenset[str]:
    """The types of the operations that run when `outputs` are fetched.

    Args:
        inputs: Names of the fed tensors; what lies before them does not run.
        outputs: Names of the fetched tensors.
    """
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    return frozenset(_op_types(_reached(graph, inputs, outputs), functions)) - functions.keys()


def _reached(graph: GraphDef, inputs: Iterable[str], outputs: Iterable[str]) -> Iterator[NodeDef]:
    """The nodes on the way from the outputs back to the inputs, over data and control edges."""
    nodes = {node.name: node for node in graph.node}
    fed = {_normal(name) for name in inputs}
    waiting = [_normal(name) for name in outputs]
    seen: set[str] = set()
    while waiting:
        edge = waiting.pop()
        name = edge[1:] if edge.startswith("^") else edge.rpartition(":")[0]
        if edge in fed or name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        waiting.extend(map(_normal, nodes[name].input))


def _normal(edge: str) -> str:
    """A tensor's name with its output's number: `x` is `x:0`; a control edge stays as it is."""
    return edge if edge.startswith("^") or ":" in edge else f"{edge}:0"


def _op_types(nodes: Iterable[NodeDef], functions: Mapping[str, Iterable[NodeDef]]) -> Iterator[str]:
    """The types of nodes and of all nodes in the functions that they call: TensorFlow prunes no side effect there."""
    waiting = list(nodes)
    seen: set[str] = set()
    while waiting:
        node = waiting.pop()
        yield node.op
        for name in {node.op, *_function_names(node.attr.values())} & functions.keys() - seen:
            seen.add(name)
            waiting.extend(functions[name])


def _function_names(attributes: Iterable[AttrValue]) -> Iterator[str]:
    for attribute in attributes:
        if attribute.HasField("func"):
            yield attribute.func.name
        yield from (function.name for function in attribute.list.func)
