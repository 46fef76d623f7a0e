"""One TensorFlow, loaded from its bundle: its operations, and models as sessions."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from stopgap_protos.graph_pb2 import OpList
from stopgap_protos.session_pb2 import ConfigProto, GraphOptions

from ..faults import Code, Fault
from .binding import GraphPointer, SessionPointer
from .bundle import Bundle
from .functions import Functions
from .session import Session, in_pool
from .transfer import Transfer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TensorFlow"]


class TensorFlow:
    """The TensorFlow of a bundle; loading it starts no thread, so the process can still fork.

    Raises:
        Fault: Its libraries cannot be loaded (FAILED_PRECONDITION).
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        *before, last = bundle.core
        # For 1.15.5's TryRpc, whose calls at times never end: most often with its gRPC's default, epollex.
        os.environ.setdefault("GRPC_POLL_STRATEGY", "epoll1")
        try:
            for library in before:
                ctypes.CDLL(str(library))
            self._functions = Functions(last)
        except (OSError, AttributeError) as error:
            raise Fault(Code.FAILED_PRECONDITION, f"TensorFlow {bundle.tensorflow} does not load: {error}") from error
        self._transfer = Transfer(self._functions, strings_are_objects=bundle.strings_are_objects)

    @classmethod
    def load(cls, bundle_folder: Path) -> TensorFlow:
        """The TensorFlow of a bundle folder.

        Raises:
            Fault: The folder holds no bundle, or its libraries cannot be loaded (FAILED_PRECONDITION).
        """
        return cls(Bundle.read(bundle_folder))

    @property
    def version(self) -> str:
        """What the library calls itself."""
        return self._functions.version().decode()

    def load_op_library(self, path: Path) -> OpList:
        """Loads a library of operations and gives those that it registers; a second time does nothing.

        What it depends on it finds by itself: the bundle keeps the wheel's folders, to which its RPATH refers. (Loaded
        on its own, `libforestprotos.so` lacks the symbols of the framework library.)

        Raises:
            Fault: It cannot be loaded, or registers an operation that exists already.
        """
        handle = self._functions.load_library(os.fsencode(path))  # kept: TensorFlow has no way to unload one
        return OpList.FromString(self._functions.get_op_list(handle).read())

    def registered_ops(self) -> OpList:
        """Every operation that is registered by now, in the order of their names."""
        buffer = self._functions.get_all_op_list()
        try:
            ops = list(OpList.FromString(buffer.contents.read()).op)
        finally:
            self._functions.delete_buffer(buffer)
        ops.sort(key=lambda op: op.name)
        return OpList(op=ops)

    def load_model(self, folder: Path, tags: Iterable[str], *, threads: int, timeout_s: float | None) -> Session:
        """Loads a SavedModel: its graph, its variables, its tables.

        Args:
            tags: The exact tags of the wanted meta graph.
            threads: The size of each of TensorFlow's two pools.
            timeout_s: When to give up restoring and initialising (DEADLINE_EXCEEDED).

        Raises:
            Fault: TensorFlow's own error.
        """
        graph = self._functions.new_graph()
        self._functions.require_shape_functions(graph, False)
        try:
            session = self._load_session(graph, folder, sorted(tags), threads, timeout_s)
        except Fault:
            self._functions.delete_graph(graph)
            raise
        return Session(self._functions, self._transfer, session, graph)

    def _load_session(
        self, graph: GraphPointer, folder: Path, tags: list[str], threads: int, timeout_s: float | None
    ) -> SessionPointer:
        options = self._functions.new_session_options()
        try:
            config = _session_config(threads).SerializeToString()
            self._functions.set_config(options, config, len(config))
            return self._functions.load_session_from_saved_model(
                options,
                in_pool(timeout_s),
                os.fsencode(folder),
                (ctypes.c_char_p * len(tags))(*map(str.encode, tags)),
                len(tags),
                graph,
                None,
            )
        finally:
            self._functions.delete_session_options(options)


def _session_config(threads: int) -> ConfigProto:
    return ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=threads,
        # A model trained on a GPU names it in its graph.
        allow_soft_placement=True,
        # Else one operation without a CPU kernel breaks every run, also of the parts that do not need it.
        graph_options=GraphOptions(place_pruned_graph=True),
    )
