"""What `stopgap.load` gives: a model that answers as if TensorFlow 2 had loaded it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from google.protobuf.message import Message

from stopgap.api.batches import in_batches
from stopgap.api.functions import SignatureFunction
from stopgap.api.opening import Connection, Source, opened, progress
from stopgap.api.pruned import PrunedFunction, Structure
from stopgap.api.values import dense_parts, example_inputs, gathered
from stopgap.client.signatures import DEFAULT_SIGNATURE, Signature, choose
from stopgap.client.status import FAILED_PRECONDITION, INVALID_ARGUMENT
from stopgap.errors import PredictionError

__all__ = ["LoadedModel"]

IN_FLIGHT = 4


class LoadedModel:
    """A model in a sandbox, or at an address. A context manager; any number of threads may use it at once.

    Attributes:
        signatures: Functions by the signatures' names, called as TensorFlow's are:
            `model.signatures["serving_default"](image=batch)["probs"]`.
        address: Where it answers, `HOST:PORT`: for any other client of TF Serving's gRPC.
        name: What it is called there.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.address = connection.address
        self.name = connection.remote.name
        self.signatures: Mapping[str, SignatureFunction] = Signatures(connection)

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection. A sandbox that was started for it ends with its last user; a deployment stays.

        Raises:
            StopgapError: The sandbox could not be stopped.
        """
        self._connection.close()

    def predict(
        self,
        inputs: object = None,
        *,
        signature: str = DEFAULT_SIGNATURE,
        features: Mapping[str, Sequence[object]] | None = None,
        batch_size: int | None = None,
        in_flight: int = IN_FLIGHT,
        timeout_s: float | None = None,
        show_progress: bool | None = None,
    ) -> dict[str, Any]:
        """Arrays in and out, in one request or in several.

        Args:
            inputs: By name; or the value of the signature's only input.
            signature: The signature's name.
            features: Columns of features in place of an input that takes tf.Examples.
            batch_size: How many rows a request has at most; all in one, where it is left out.
            in_flight: How many requests are under way at once.
            timeout_s: The deadline of each request, in seconds; the model's own, where it is left out.
            show_progress: Whether to show a bar for several batches; by default where stderr is a terminal.

        Returns:
            As `SignatureFunction.numpy`.

        Raises:
            PredictionError: The inputs do not fit, cannot be cut into batches, or a request was refused or failed.
        """
        in_flight = counted("in_flight", in_flight)
        batch_size = None if batch_size is None else counted("batch_size", batch_size)
        function = self.signatures[signature]
        arrays = self._fitted(function.signature, inputs, features)
        if batch_size is None:
            return gathered(function.signature.outputs, function.ask(arrays, timeout_s))
        with progress(show_progress) as report:
            outputs = in_batches(
                function.signature,
                arrays,
                lambda part: function.ask(part, timeout_s),
                batch_size=batch_size,
                in_flight=in_flight if self._is_repeatable(signature) else 1,  # a state changes in the rows' order
                progress=report,
            )
        return gathered(function.signature.outputs, outputs)

    def answer(self, request: Message, timeout_s: float | None = None) -> Message:
        """TF Serving's own messages: a `PredictRequest` in, the `PredictResponse` of the same package out.

        Args:
            request: Of `tensorflow_serving.apis`, or of any package that has its messages. Where it names no model,
                this one is meant.
            timeout_s: The deadline, in seconds; the model's own, where it is left out.

        Raises:
            PredictionError: It is no PredictRequest, or was refused or failed.
        """
        self._connection.look_at_the_sunset()
        return self._connection.remote.answer(request, self._connection.deadline_s(timeout_s))

    def prune(self, feeds: Structure, fetches: Structure) -> PrunedFunction:
        """A function from some of the graph's tensors to others, as TensorFlow 2's loader of 1.x models has it.

        Args:
            feeds: Names of tensors ("image:0"): one, a list, or a dict by the keywords that the function is to take.
            fetches: Names of tensors: the function gives what it fetches in the same form.

        Raises:
            PredictionError: The graph has no such tensor, or the deployment does not let callers name them: it was
                served without --allow-tensors.
        """
        return PrunedFunction(self._connection, feeds, fetches)

    def keras_layer(self, signature: str = DEFAULT_SIGNATURE, output: str | None = None, **layer: Any) -> Any:
        """The signature as a layer of Keras 3, without weights: what stands above it can be trained, nothing below it.

        A Keras model that has it can be saved: what is saved is where the model is found, and loading opens it again.
        A program that only loads it imports `stopgap.api.keras_layer` before, so that Keras knows the layer's class.

        Args:
            signature: The signature's name.
            output: The one output that is wanted; a dict of all, where there are several and none is named.
            layer: What any Keras layer takes: `name`, say.

        Raises:
            PredictionError: The model is closed, there is no such signature or output, or Keras runs on another
                backend than TensorFlow.
        """
        if not self._connection.is_open:
            raise PredictionError(f"{self.name} is closed.", FAILED_PRECONDITION, "Load it again.")
        from stopgap.api.keras_layer import SignatureLayer  # noqa: PLC0415 - Keras comes with TensorFlow, an extra

        source = self._connection.source.to_config()
        return SignatureLayer(source, signature, output, connection=self._connection, **layer)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, or as a copy, it is opened again."""
        return reopened, (self._connection.source,)

    def __repr__(self) -> str:
        if not self._connection.is_open:
            return f"<{type(self).__name__} {self.name}, closed>"
        return f"<{type(self).__name__} {self.name} at {self.address}: {', '.join(self.signatures)}>"

    def _is_repeatable(self, signature: str) -> bool:
        return self._connection.remote.traits(self._connection.source.timeout_s).repeatable(signature)

    def _fitted(
        self, signature: Signature, inputs: object, features: Mapping[str, Sequence[object]] | None
    ) -> dict[str, np.ndarray]:
        given = named(signature, inputs)
        if features is not None:
            made = example_inputs(
                signature, self._connection.remote.traits(self._connection.source.timeout_s).features, features
            )
            if twice := given.keys() & made.keys():
                raise PredictionError(
                    f"The input {min(twice)!r} is given, and features of which it would be made.",
                    INVALID_ARGUMENT,
                    "Leave one of them out.",
                )
            given.update(made)
        return signature.fit(given)


class UnknownSignature(PredictionError, KeyError):
    """As of any mapping, so that `get` and `except KeyError` do what they do elsewhere."""


class Signatures(Mapping[str, SignatureFunction]):
    """A model's signatures by name; an unknown one is told with those that there are, in a KeyError of our tree."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getitem__(self, name: str) -> SignatureFunction:
        try:
            return SignatureFunction(self._connection, choose(self._told(), name))
        except PredictionError as error:
            raise UnknownSignature(error.problem, error.code, error.remedy) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._told())

    def __len__(self) -> int:
        return len(self._told())

    def __contains__(self, name: object) -> bool:
        return name in self._told()

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{name!r}: {self[name]!r}' for name in self)}}}"

    def _told(self) -> Mapping[str, Signature]:
        return self._connection.remote.signatures(self._connection.source.timeout_s)


def reopened(source: Source) -> LoadedModel:
    return LoadedModel(opened(source, show_progress=False))


def counted(argument: str, number: object) -> int:
    """
    Raises:
        PredictionError: It is no whole number of at least 1.
    """
    if isinstance(number, (int, np.integer)) and not isinstance(number, bool) and number >= 1:
        return int(number)
    raise PredictionError(f"{argument} must be a whole number of at least 1, not {number!r}.", INVALID_ARGUMENT)


def named(signature: Signature, inputs: object) -> dict[str, Any]:
    if inputs is None:
        return {}
    if isinstance(inputs, Mapping):
        return dense_parts(signature, inputs)
    names = list(signature.inputs)
    if len(names) != 1:
        raise PredictionError(
            f"The signature {signature.name!r} has {len(names)} inputs, so they must be named.",
            INVALID_ARGUMENT,
            f"Give a dict of {listed(names)}." if names else "Give none.",
        )
    return {names[0]: inputs}


def listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
