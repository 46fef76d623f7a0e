"""The data plane: one model's answers, the same for every face."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, Protocol

from stopgap_protos.saved_model_pb2 import SignatureDef
from stopgap_protos.serving_pb2 import ModelSpec
from stopgap_protos.traits_pb2 import ModelTraits

from .faults import Code, Fault
from .host_tensor import HostTensor
from .servable import Servable
from .signatures import DEFAULT_SIGNATURE, Signature, TensorSpec
from .validation import Offered, check_inputs, chosen_outputs

__all__ = ["DataPlane", "Folded", "Prediction"]

# A run in the caller's thread was predicted to take a twentieth of this; TensorFlow cannot end it, whoever waits.
_INLINE_PATIENCE_S: Final = 1.0


class Folded(Offered, Protocol):
    """An input as a face has it, not yet unfolded into memory."""

    def decode(self, largest_bytes: int) -> HostTensor: ...


class Prediction(NamedTuple):
    """What one run gave, by output alias."""

    signature: Signature
    outputs: Mapping[str, HostTensor]


class DataPlane:
    """Answers for one loaded version of one model.

    Args:
        also_called: Further names that it answers to: those of models whose place it takes.
        run_timeout_s: No run takes longer, whatever its caller would allow.
        largest_bytes: What a message may weigh. No input may unfold to more: what a message may carry is also what its
            repeated values may.
        overdue_after: Announces a run and the `time.monotonic()` by which it must have ended, or the worker is
            replaced; entered around the run.
    """

    def __init__(
        self,
        name: str,
        version: int,
        servable: Servable,
        *,
        also_called: Collection[str] = (),
        run_timeout_s: float,
        largest_bytes: int,
        overdue_after: Callable[[float], AbstractContextManager[None]],
    ) -> None:
        self.name = name
        self.version = version
        self._names = frozenset({name, *also_called})
        self._servable = servable
        self._run_timeout_s = run_timeout_s
        self.largest_bytes = largest_bytes
        self._overdue_after = overdue_after

    @property
    def signature_defs(self) -> Mapping[str, SignatureDef]:
        """The model's signatures as its file has them."""
        return self._servable.signature_defs

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What callers may ask."""
        return self._servable.signatures

    @property
    def traits(self) -> ModelTraits:
        """What the model says of itself beyond TF Serving's contract."""
        return self._servable.traits

    def tensor(self, spec: ModelSpec, name: str) -> TensorSpec:
        """One of the graph's own tensors.

        Raises:
            Fault: As `check_spec`, or why it cannot be told of.
        """
        self.check_spec(spec)
        return self._servable.tensor(name)

    def signature_of_tensors(self, spec: ModelSpec, inputs: Collection[str], outputs: Sequence[str]) -> Signature:
        """A signature over the graph's own tensors.

        Raises:
            Fault: As `check_spec`, or why these tensors cannot be asked for.
        """
        self.check_spec(spec)
        return self._servable.signature_of_tensors(tuple(sorted(inputs)), tuple(outputs))

    def signature(self, spec: ModelSpec) -> Signature:
        """The signature that a request names; `serving_default` when it names none.

        Raises:
            Fault: As `check_spec`, or FAILED_PRECONDITION for an unknown signature.
        """
        self.check_spec(spec)
        key = spec.signature_name or DEFAULT_SIGNATURE
        if key not in self._servable.signatures:
            raise Fault(Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
        return self._servable.signatures[key]

    def check_spec(self, spec: ModelSpec) -> None:
        """Refuses a model, version or label that is not ours.

        Raises:
            Fault: NOT_FOUND or INVALID_ARGUMENT, in TF Serving's words.
        """
        if not spec.name:
            raise Fault(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        if spec.HasField("version_label"):
            raise Fault(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}")
        if spec.HasField("version") and not (self.is_called(spec.name) and spec.version.value == self.version):
            raise Fault(Code.NOT_FOUND, f"Servable not found for request: Specific({spec.name}, {spec.version.value})")
        if not self.is_called(spec.name):
            raise Fault(Code.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")

    def is_called(self, name: str) -> bool:
        """Whether a request for that name is one for this model."""
        return name in self._names

    def predict(
        self,
        signature: Signature,
        inputs: Mapping[str, Folded],
        output_filter: Sequence[str],
        timeout_s: float | None,
    ) -> Prediction:
        """Runs one request.

        Args:
            timeout_s: How long the caller still waits; None for as long as a run may take.

        Raises:
            Fault: The request does not fit the signature, or TensorFlow failed, in its own words and code.
        """
        check_inputs(signature, inputs)
        outputs = chosen_outputs(signature, output_filter)
        budget_s = self._run_timeout_s if timeout_s is None else min(timeout_s, self._run_timeout_s)
        if budget_s <= 0:
            raise Fault(Code.DEADLINE_EXCEEDED, "the deadline had passed before the run began")
        tensors = {alias: tensor.decode(self.largest_bytes) for alias, tensor in inputs.items()}
        inline = self._servable.runs_inline(signature, tensors)
        # In the pool TensorFlow ends a run by itself, if between two kernels; the caller is answered, others go on.
        patience_s = max(budget_s, _INLINE_PATIENCE_S) if inline else self._run_timeout_s
        with self._overdue_after(time.monotonic() + patience_s):
            return Prediction(signature, self._servable.run(signature, tensors, outputs, budget_s, inline=inline))
