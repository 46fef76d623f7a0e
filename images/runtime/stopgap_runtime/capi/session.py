"""A loaded model as TensorFlow has it: tensors by name, and runs."""

from __future__ import annotations

import ctypes
import functools
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stopgap_protos.session_pb2 import RunOptions

from ..faults import Code, Fault
from .binding import Buffer, GraphPointer, Output, SessionPointer, TensorPointer

if TYPE_CHECKING:
    from ..host_tensor import HostTensor
    from .functions import Functions
    from .transfer import Transfer

__all__ = ["IN_CALLERS_THREAD", "Endpoints", "Session", "in_pool"]

IN_CALLERS_THREAD: Final = Buffer.lending(RunOptions(inter_op_thread_pool=-1).SerializeToString())
"""Run options: the graph runs in the calling thread; TensorFlow cannot interrupt it there, so no timeout goes along."""


def in_pool(timeout_s: float | None) -> Buffer:
    """Run options: the graph runs in TensorFlow's pool, until done or until `timeout_s` have passed."""
    return Buffer.lending(RunOptions(timeout_in_ms=_milliseconds(timeout_s)).SerializeToString())


def _milliseconds(timeout_s: float | None) -> int:
    if timeout_s is None or math.isinf(timeout_s):
        return 0  # TensorFlow's "no timeout"
    return min(max(1, math.ceil(timeout_s * 1000)), 2**31 - 1)


@dataclass(frozen=True)
class Endpoints:
    """Some tensors of a session's graph, looked up once; they are valid as long as the session lives."""

    names: tuple[str, ...]
    dtypes: tuple[int, ...]
    outputs: ctypes.Array[Output]

    @functools.cached_property
    def pointers(self) -> type[ctypes.Array[TensorPointer]]:
        """The C type of as many tensors."""
        return TensorPointer * len(self.names)


class Session:
    """A graph with its variables. Any number of threads may run it at once.

    Args:
        session: Owned from now on, as is the graph: both are freed when this object is collected. At the process's
            end they are not, since the kernel frees memory faster and a run may be under way.
    """

    def __init__(self, functions: Functions, transfer: Transfer, session: SessionPointer, graph: GraphPointer) -> None:
        self._functions = functions
        self._transfer = transfer
        self._session = session
        self._graph = graph
        self._finalizer = weakref.finalize(self, _free, functions, session, graph)
        self._finalizer.atexit = False

    def endpoints(self, tensor_names: Sequence[str]) -> Endpoints:
        """Looks tensors up by their names ("dense/BiasAdd:0"; without a number the first output is meant).

        Raises:
            Fault: The graph has no such tensor (INVALID_ARGUMENT).
        """
        outputs = [self._output(name) for name in tensor_names]
        return Endpoints(
            names=tuple(tensor_names),
            dtypes=tuple(map(self._functions.operation_output_type, outputs)),
            outputs=(Output * len(outputs))(*outputs),
        )

    def describe(self, tensor_name: str) -> tuple[int, tuple[int | None, ...] | None]:
        """A tensor's dtype and shape as far as the graph knows them: None for a free dimension, or for no rank at all.

        Raises:
            Fault: The graph has no such tensor (INVALID_ARGUMENT).
        """
        output = self._output(tensor_name)
        dtype = self._functions.operation_output_type(output)
        rank = self._functions.tensor_rank(self._graph, output)
        if rank < 0:
            return dtype, None
        sizes = (ctypes.c_int64 * rank)()
        self._functions.tensor_shape(self._graph, output, sizes, rank)
        return dtype, tuple([None if size < 0 else size for size in sizes])

    def run(
        self, inputs: Endpoints, values: Sequence[HostTensor], outputs: Endpoints, options: Buffer
    ) -> list[HostTensor]:
        """Feeds the values, one for each input, and gives the outputs.

        The dtypes must be those of the inputs: TensorFlow checks them. Shapes it does not check.

        Args:
            options: `IN_CALLERS_THREAD` or `in_pool(…)`.

        Raises:
            Fault: TensorFlow's own error, or one of the tensors cannot cross the border.
        """
        fed: list[TensorPointer] = []
        fetched = outputs.pointers()
        delete = self._functions.delete_tensor
        try:
            for value in values:
                fed.append(self._transfer.enter(value))  # noqa: PERF401 - what has entered must be deleted
            self._functions.session_run(
                self._session,
                options,
                inputs.outputs,
                inputs.pointers(*fed),
                len(fed),
                outputs.outputs,
                fetched,
                len(fetched),
                None,
                0,
                None,
            )
            return list(map(self._transfer.leave, fetched, outputs.dtypes))
        finally:
            for pointer in (*fed, *fetched):
                if pointer:
                    delete(pointer)

    def close(self) -> None:
        """Frees the session and its graph now; no run may be under way."""
        self._finalizer()

    def _output(self, tensor_name: str) -> Output:
        name, colon, index = tensor_name.rpartition(":")
        if not colon:
            name, index = tensor_name, "0"
        operation = self._functions.graph_operation_by_name(self._graph, name.encode())
        known = operation and index.isdecimal() and int(index) < self._functions.operation_num_outputs(operation)
        if not known:
            raise Fault(Code.INVALID_ARGUMENT, f"the graph has no tensor {tensor_name!r}")
        return Output(operation, int(index))


def _free(functions: Functions, session: SessionPointer, graph: GraphPointer) -> None:
    functions.close_session(session)
    functions.delete_session(session)
    functions.delete_graph(graph)
