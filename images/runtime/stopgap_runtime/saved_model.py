"""A SavedModel as it lies on disk, read without TensorFlow: meta graphs, tags, signatures and operations.

The files are somebody else's: sizes are bounded, only regular files are read, and every way to be broken is a `Fault`.
"""

from __future__ import annotations

import os
import stat
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from stopgap_protos.saved_model_pb2 import SavedModel, SignatureDef

from .contrib_ops import contrib_module
from .faults import Code, Fault
from .signatures import Signature, read_signatures

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from stopgap_protos.graph_pb2 import GraphDef
    from stopgap_protos.saved_model_pb2 import MetaGraphDef

__all__ = ["MetaGraph", "check_ops", "read_meta_graph"]

_BINARY: Final = "saved_model.pb"
_TEXT: Final = "saved_model.pbtxt"
_LARGEST_BYTES: Final = 2**31 - 1  # protobuf's limit for one message
_NAMES_SHOWN: Final = 12
_NAME_WIDTH: Final = 80


@dataclass(frozen=True)
class MetaGraph:
    """One of a SavedModel's graphs.

    Attributes:
        signature_defs: The signatures as the file has them.
        signatures: Those that are for callers.
        ops: The types of all operations in the graph and in its function library; functions are not operations.
    """

    tags: frozenset[str]
    signature_defs: Mapping[str, SignatureDef]
    signatures: Mapping[str, Signature]
    graph: GraphDef
    ops: frozenset[str]


def read_meta_graph(folder: Path, tags: Collection[str]) -> MetaGraph:
    """Reads the meta graph that has exactly these tags.

    Raises:
        Fault: The folder holds no SavedModel (NOT_FOUND), an unreadable one (DATA_LOSS), one that may not be read
            (PERMISSION_DENIED), one without its weights (DATA_LOSS), or none with these tags (NOT_FOUND; the text
            lists those that are there).
    """
    described = _chosen(_read(folder), frozenset(tags))
    _check_variables(folder, described)
    graph = described.graph_def
    functions = {function.signature.name for function in graph.library.function}
    used = {node.op for node in graph.node}
    used.update(node.op for function in graph.library.function for node in function.node_def)
    return MetaGraph(
        tags=frozenset(tags),
        # Copies: a part of a message keeps the whole of it in memory, and this one is as large as the graph.
        signature_defs={
            key: SignatureDef.FromString(signature.SerializeToString())
            for key, signature in described.signature_def.items()
        },
        signatures=read_signatures(described.signature_def, _with_default(graph)),
        graph=graph,
        ops=frozenset(used - functions),
    )


def _check_variables(folder: Path, described: MetaGraphDef) -> None:
    """TensorFlow's loader takes a missing index for "no variables", restores nothing, and lets every request fail."""
    if described.saver_def.restore_op_name and not (folder / "variables" / "variables.index").exists():
        raise Fault(
            Code.DATA_LOSS,
            "variables/variables.index is missing, so the model's weights cannot be restored: copy the whole folder",
        )


def _with_default(graph: GraphDef) -> frozenset[str]:
    return frozenset(f"{node.name}:0" for node in graph.node if node.op == "PlaceholderWithDefault")


def check_ops(used: Iterable[str], known: Collection[str], tensorflow: str) -> None:
    """Sees to it that TensorFlow has every operation that a graph uses.

    Raises:
        Fault: It has not (NOT_FOUND); the text says of each where it comes from.
    """
    missing = sorted(set(used) - set(known))
    if not missing:
        return
    named = "; ".join(f"{_shown(op)} ({_origin(op)})" for op in missing[:_NAMES_SHOWN])
    more = f"; and {len(missing) - _NAMES_SHOWN} more" if len(missing) > _NAMES_SHOWN else ""
    raise Fault(Code.NOT_FOUND, f"Op type not registered in TensorFlow {tensorflow}: {named}{more}")


def _origin(op: str) -> str:
    module = contrib_module(op)
    return f"of {module}" if module else "a custom op: pass its library with --op-library FILE"


def _shown(name: str) -> str:
    """A name out of a model's file, safe to print."""
    cut = name if len(name) <= _NAME_WIDTH else name[:_NAME_WIDTH] + "…"
    return repr(cut)


def _chosen(model: SavedModel, tags: frozenset[str]) -> MetaGraphDef:
    if not model.meta_graphs:
        raise Fault(Code.DATA_LOSS, "saved_model holds no graph: it is not a SavedModel, or it is cut short")
    for meta_graph in model.meta_graphs:
        if frozenset(meta_graph.meta_info_def.tags) == tags:
            return meta_graph
    there = sorted({_tag_list(meta_graph.meta_info_def.tags) for meta_graph in model.meta_graphs})
    raise Fault(Code.NOT_FOUND, f"the SavedModel has no graph tagged {_tag_list(tags)}; it has: {'; '.join(there)}")


def _tag_list(tags: Iterable[str]) -> str:
    return ",".join(_shown(tag)[1:-1] for tag in sorted(tags)) or "(no tags)"


def _read(folder: Path) -> SavedModel:
    """TensorFlow prefers the binary form where both are there; so does this."""
    content = _content(folder / _BINARY)
    if content is not None:
        return _parsed_binary(content)
    content = _content(folder / _TEXT)
    if content is not None:
        return _parsed_text(content)
    raise Fault(Code.NOT_FOUND, f"no SavedModel: the folder has neither {_BINARY} nor {_TEXT}")


def _parsed_binary(content: bytes) -> SavedModel:
    try:
        return SavedModel.FromString(content)
    except DecodeError as error:
        raise Fault(Code.DATA_LOSS, f"{_BINARY} is not a SavedModel, or it is damaged: {error}") from error


def _parsed_text(content: bytes) -> SavedModel:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of an escape that protobuf leaves as it is
            return text_format.Parse(content, SavedModel(), allow_unknown_field=True)
    except (text_format.ParseError, ValueError, TypeError, KeyError, RuntimeError) as error:
        # Not all that it finds wrong is a ParseError: a number out of range is a ValueError.
        text = str(error)[:_NAME_WIDTH]
        raise Fault(Code.DATA_LOSS, f"{_TEXT} is not a SavedModel, or it is damaged: {text}") from error


def _content(path: Path) -> bytes | None:
    """A file's bytes; None where there is no such file.

    Raises:
        Fault: It is no regular file, is too large, or may not be read.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO waits for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Fault(Code.PERMISSION_DENIED, f"{path.name} may not be read by uid {os.getuid()}") from error
    except OSError as error:
        raise Fault(Code.DATA_LOSS, f"{path.name} cannot be opened: {error.strerror}") from error
    try:
        return _read_whole(descriptor, path.name)
    except OSError as error:
        raise Fault(Code.DATA_LOSS, f"{path.name} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _read_whole(descriptor: int, name: str) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise Fault(Code.DATA_LOSS, f"{name} is not a regular file")
    if status.st_size > _LARGEST_BYTES:
        raise Fault(Code.DATA_LOSS, f"{name} has {status.st_size} bytes; a SavedModel has less than 2 GiB")
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(status.st_size)  # memory for as much as is asked for is taken before anything is read
