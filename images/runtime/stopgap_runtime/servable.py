"""A loaded model: its signatures, runs, and the choice of the thread in which a run takes place."""

from __future__ import annotations

import functools
import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stopgap_protos.tensor_pb2 import DataType
from stopgap_protos.traits_pb2 import ModelTraits, OptionalInput

from .capi import IN_CALLERS_THREAD, Buffer, Endpoints, Session, TensorFlow, in_pool
from .example_keys import example_inputs
from .faults import Code, Fault
from .given_signatures import GivenSignature, of_tensors, signature_def
from .host_tensor import ELEMENT, HostTensor, elements_in, zeros
from .op_registry import OpRegistry
from .out_of_reach import out_of_reach
from .reach import reached_ops
from .saved_model import MetaGraph, check_ops, read_meta_graph
from .signatures import DEFAULT_SIGNATURE
from .state import state_changing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from stopgap_protos.graph_pb2 import GraphDef, OpDef
    from stopgap_protos.saved_model_pb2 import SignatureDef

    from .signatures import Signature, TensorSpec

__all__ = ["TENSORS", "Servable"]

TENSORS: Final = "stopgap:tensors"
"""What a request says in place of a signature's name, where its inputs and outputs are the graph's own tensors."""

# A run in the caller's thread cannot be interrupted, so only what was measured short may go there …
_SHORT_S: Final = 0.010
# … and what is predicted, from the size of its inputs, to stay so.
_LONGEST_INLINE_S: Final = 0.050

_PAIRS_MEASURED: Final = 15
_MEASURING_S: Final = 0.3
_LARGEST_SYNTHETIC_BYTES: Final = 64 << 20
_STRING_OVERHEAD_BYTES: Final = 16  # so that an empty string has a size to compare with


@dataclass(frozen=True)
class _Plan:
    """One way to run a signature: what is fed, what is fetched, and where each wanted output stands among that."""

    fed: Endpoints
    fetched: Endpoints
    positions: tuple[int, ...]


@dataclass(frozen=True)
class _Pace:
    """How long a run in the caller's thread took, with how many bytes of input."""

    seconds: float
    input_bytes: int

    def predicts_short(self, input_bytes: int) -> bool:
        return self.seconds * max(1.0, input_bytes / max(1, self.input_bytes)) <= _LONGEST_INLINE_S


class Servable:
    """A model in memory. Any number of threads may run it at once.

    Args:
        given: Signatures beside those of the model's file; one of the same name takes the other's place.
        tensors_allowed: Whether callers may name the graph's own tensors.

    Attributes:
        signatures: What callers may ask.
        signature_defs: The same, as the model's file has it.
        tensorflow_version: What it runs on.

    Raises:
        Fault: The graph lacks a tensor that a given signature names (INVALID_ARGUMENT).
    """

    def __init__(
        self,
        session: Session,
        meta_graph: MetaGraph,
        ops: Mapping[str, OpDef],
        tensorflow_version: str,
        *,
        given: Iterable[GivenSignature] = (),
        tensors_allowed: bool = False,
    ) -> None:
        found = {one.key: one.found_in(session) for one in given}
        self.signatures: Mapping[str, Signature] = {**meta_graph.signatures, **found}
        self.signature_defs: Mapping[str, SignatureDef] = {
            **meta_graph.signature_defs,
            **{key: signature_def(signature) for key, signature in found.items()},
        }
        self.tensorflow_version = tensorflow_version
        self._session = session
        self._ops = ops
        self._graph: GraphDef | None = meta_graph.graph if tensors_allowed else None  # it may be large
        reached = {key: _reached(signature, meta_graph.graph) for key, signature in self.signatures.items()}
        self._state_changing = {key: state_changing(used, ops) for key, used in reached.items()}
        self._out_of_reach = {key: out_of_reach(used) for key, used in reached.items()}
        self._inline: dict[str, _Pace] = {}
        self._plan = functools.lru_cache(maxsize=256)(self._make_plan)
        self.signature_of_tensors = functools.lru_cache(maxsize=64)(self._signature_of_tensors)
        self.traits = ModelTraits(
            state_changing=[key for key, changing in self._state_changing.items() if changing],
            tensors_allowed=tensors_allowed,
            example_inputs=example_inputs(meta_graph.graph, self.signatures),
            optional_inputs=[
                OptionalInput(signature=key, alias=alias)
                for key, signature in self.signatures.items()
                for alias, spec in signature.inputs.items()
                if spec.optional
            ],
        )

    @classmethod
    def load(
        cls,
        tensorflow: TensorFlow,
        model: Path,
        *,
        tags: Collection[str],
        op_libraries: Iterable[Path] = (),
        given: Iterable[GivenSignature] = (),
        tensors_allowed: bool = False,
        threads: int,
        load_timeout_s: float | None = None,
    ) -> Servable:
        """Loads a SavedModel, with the op libraries that its graph needs and no others.

        Args:
            model: The folder of one version.
            tags: The exact tags of the wanted meta graph.
            op_libraries: Libraries of custom operations, loaded in any case.
            given: As for `Servable`, and so is the next.
            threads: The size of each of TensorFlow's two pools.

        Raises:
            Fault: Why it cannot be served, in words for who wants to serve it.
        """
        registry = OpRegistry.read(tensorflow.bundle)
        meta_graph = read_meta_graph(model, tags)
        custom = {op.name: op for library in op_libraries for op in _custom_ops(tensorflow, library)}
        ops = {**registry.ops, **custom}
        check_ops(meta_graph.ops, ops, tensorflow.version)
        for library in registry.libraries_for(meta_graph.ops - custom.keys()):
            tensorflow.load_op_library(library)
        session = tensorflow.load_model(model, meta_graph.tags, threads=threads, timeout_s=load_timeout_s)
        return cls(session, meta_graph, ops, tensorflow.version, given=given, tensors_allowed=tensors_allowed)

    @property
    def changes_any_state(self) -> bool:
        """Whether some signature changes what later runs see."""
        return any(self._state_changing.values())

    def changes_state(self, signature_key: str) -> bool:
        """Whether running this signature changes what later runs see; see `state`."""
        return bool(self._state_changing[signature_key])

    def run(
        self,
        signature: Signature,
        inputs: Mapping[str, HostTensor],
        outputs: Sequence[str],
        timeout_s: float | None,
        *,
        inline: bool = False,
    ) -> dict[str, HostTensor]:
        """Runs a signature.

        Args:
            inputs: A tensor for each of the signature's inputs, checked against it; optional ones may be missing.
            outputs: Aliases of the wanted outputs.
            timeout_s: When TensorFlow is to give up.
            inline: Whether to run in the caller's thread, where TensorFlow never gives up: what `runs_inline` says.

        Raises:
            Fault: TensorFlow's own error, or the signature names tensors that the graph does not have.
        """
        if refusal := self._out_of_reach.get(signature.key):
            raise Fault(Code.UNAVAILABLE, refusal)
        plan = self._plan(signature.key, tuple(inputs), tuple(outputs))
        clock = time.thread_time if inline else time.monotonic  # a busy machine must not make a short run look long
        started = clock()
        answer = self._run(plan, inputs, outputs, IN_CALLERS_THREAD if inline else in_pool(timeout_s))
        self._learn(signature, inputs, clock() - started, inline=inline)
        return answer

    def runs_inline(self, signature: Signature, inputs: Mapping[str, HostTensor]) -> bool:
        """Whether such a run would take place in the caller's thread, where TensorFlow cannot interrupt it."""
        pace = self._inline.get(signature.key)
        return pace is not None and pace.predicts_short(_input_bytes(inputs))

    def warm_up(self, budget_s: float = 10.0, *, longest_run_s: float = math.inf) -> None:
        """Runs each signature that changes no state on made-up inputs, and measures in which thread it is faster.

        The made-up inputs need not make sense to the model: an error is none. They can kill the process.

        Args:
            longest_run_s: No run takes longer: what a caller may not wait for, nobody has to wait for here.
        """
        deadline = time.monotonic() + budget_s
        for signature in sorted(self.signatures.values(), key=lambda signature: signature.key != DEFAULT_SIGNATURE):
            if time.monotonic() >= deadline:
                return
            inputs = _synthetic(signature)
            if inputs is None or self.changes_state(signature.key) or self._out_of_reach[signature.key]:
                continue
            try:
                pace = self._measured(signature, inputs, deadline, longest_run_s)
            except Fault:
                continue
            if pace is not None:
                self._inline[signature.key] = pace

    def close(self) -> None:
        """Frees the model now; no run may be under way."""
        self._session.close()

    def _learn(self, signature: Signature, inputs: Mapping[str, HostTensor], seconds: float, *, inline: bool) -> None:
        """Corrects what warm-up measured, whose made-up inputs may be much smaller than real ones."""
        if inline:
            if seconds > _LONGEST_INLINE_S:
                self._inline.pop(signature.key, None)  # the prediction was wrong: to be trusted no more
            return
        pace = self._inline.get(signature.key)
        if pace is not None and seconds <= _SHORT_S and (input_bytes := _input_bytes(inputs)) > pace.input_bytes:
            self._inline[signature.key] = _Pace(seconds, input_bytes)

    def _measured(
        self, signature: Signature, inputs: Mapping[str, HostTensor], deadline: float, longest_run_s: float
    ) -> _Pace | None:
        """The pace of runs in the caller's thread, where they are both short and faster than in the pool."""
        plan_outputs = tuple(signature.outputs)
        plan = self._plan(signature.key, tuple(inputs), plan_outputs)

        def seconds(options: Buffer) -> float:
            started = time.perf_counter()
            self._run(plan, inputs, plan_outputs, options)
            return time.perf_counter() - started

        pooled_options = in_pool(max(0.001, min(longest_run_s, deadline - time.monotonic())))
        seconds(pooled_options)  # the first run prepares the graph
        end = min(deadline, time.monotonic() + _MEASURING_S)
        pooled, inline = [seconds(pooled_options)], list[float]()
        while len(inline) < _PAIRS_MEASURED and time.monotonic() < end:
            if statistics.median(pooled) > _SHORT_S:
                return None
            inline.append(seconds(IN_CALLERS_THREAD))
            pooled.append(seconds(pooled_options))
        if not inline or statistics.median(inline) >= min(_SHORT_S, statistics.median(pooled)):
            return None
        return _Pace(statistics.median(inline), _input_bytes(inputs))

    def _run(
        self, plan: _Plan, inputs: Mapping[str, HostTensor], outputs: Sequence[str], options: Buffer
    ) -> dict[str, HostTensor]:
        tensors = self._session.run(plan.fed, list(inputs.values()), plan.fetched, options)
        return {alias: tensors[position] for alias, position in zip(outputs, plan.positions, strict=True)}

    def _signature_of_tensors(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Signature:
        """A signature over tensors of the graph, by their own names.

        Raises:
            Fault: Callers may not name tensors here (PERMISSION_DENIED), name none to be fetched or one that is not
                there (INVALID_ARGUMENT), or running it would change a state that nobody expects to change
                (FAILED_PRECONDITION).
        """
        graph = self._open_graph()
        if not outputs:
            raise Fault(Code.INVALID_ARGUMENT, "no tensor is named to be fetched")
        signature = of_tensors(TENSORS, inputs, outputs).found_in(self._session)
        used = _reached(signature, graph)
        if refusal := out_of_reach(used):
            raise Fault(Code.UNAVAILABLE, refusal)
        changing = state_changing(used, self._ops)
        if changing and not self.changes_any_state:
            raise Fault(
                Code.FAILED_PRECONDITION,
                f"fetching {', '.join(outputs)} would change the model's state, which no signature of it does "
                f"(by {', '.join(sorted(changing))})",
            )
        return signature

    def tensor(self, name: str) -> TensorSpec:
        """One of the graph's own tensors.

        Raises:
            Fault: Callers may not name tensors here (PERMISSION_DENIED), or there is none of that name
                (INVALID_ARGUMENT).
        """
        self._open_graph()
        return of_tensors(TENSORS, (), (name,)).found_in(self._session).outputs[name]

    def _open_graph(self) -> GraphDef:
        if self._graph is None:
            raise Fault(
                Code.PERMISSION_DENIED,
                "this deployment answers for signatures alone: served with --allow-tensors, it would also for tensors",
            )
        return self._graph

    def _make_plan(self, signature_key: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> _Plan:
        signature = self.signatures.get(signature_key) or self.signature_of_tensors(inputs, outputs)
        wanted = [signature.outputs[alias].tensor_name for alias in outputs]
        fetched = tuple(dict.fromkeys(wanted))  # TensorFlow wants each tensor once; two aliases may share one
        return _Plan(
            fed=self._session.endpoints([signature.inputs[alias].tensor_name for alias in inputs]),
            fetched=self._session.endpoints(fetched),
            positions=tuple(map(fetched.index, wanted)),
        )


def _reached(signature: Signature, graph: GraphDef) -> frozenset[str]:
    fed = [spec.tensor_name for spec in signature.inputs.values() if not spec.optional]
    fetched = [spec.tensor_name for spec in signature.outputs.values()]
    return reached_ops(graph, fed, fetched)


def _custom_ops(tensorflow: TensorFlow, library: Path) -> Iterable[OpDef]:
    try:
        return tensorflow.load_op_library(library).op
    except Fault as fault:
        raise Fault(fault.code, f"the op library {library.name} does not load: {fault.text}") from fault


def _input_bytes(inputs: Mapping[str, HostTensor]) -> int:
    return sum(
        tensor.nbytes + (len(tensor.data) * _STRING_OVERHEAD_BYTES if isinstance(tensor.data, list) else 0)
        for tensor in inputs.values()
    )


def _synthetic(signature: Signature) -> dict[str, HostTensor] | None:
    """Zeros and empty strings, 1 for every free dimension; None where that is impossible or too large to be made up."""
    inputs = {}
    for alias, spec in signature.inputs.items():
        element = ELEMENT.get(spec.dtype)
        if element is None and spec.dtype != DataType.DT_STRING:
            return None
        shape = tuple(1 if size is None else size for size in spec.shape or ())
        if elements_in(shape) * (element.itemsize if element else _STRING_OVERHEAD_BYTES) > _LARGEST_SYNTHETIC_BYTES:
            return None
        inputs[alias] = zeros(spec.dtype, shape)
    return inputs
