"""A model at an address, called by signature with arrays: what a person holds in place of the model itself."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
from google.protobuf.message import Message

from stopgap.client.channel import ServingChannel
from stopgap.client.requests import metadata_request, predict_request, status_request
from stopgap.client.retries import ask_until_there
from stopgap.client.signatures import Signature, choose, signatures_in, tensors_in
from stopgap.client.status import FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED
from stopgap.client.sunset_header import sunset_in
from stopgap.client.tensors import to_arrays
from stopgap.client.traits import TENSORS, TRAITS_FIELD, Traits, tensor_field, traits_in
from stopgap.errors import PredictionError

__all__ = ["RemoteModel"]

# How servers say that they do not know a metadata field.
_OF_ANOTHER_MODEL = {INVALID_ARGUMENT, FAILED_PRECONDITION}  # what is refused may have been right for the last one
_LOOK_TIMEOUT_S = 5.0
_NOT_KNOWN = {INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED}


class RemoteModel:
    """One model behind a channel. Its signatures are asked for once.

    Args:
        channel: Whose address serves the model; it stays the caller's to close.
        name: The model's name.
        version: Its version; the newest, if none is named.
    """

    def __init__(self, channel: ServingChannel, name: str, version: int | None = None) -> None:
        self.name = name
        self._channel = channel
        self._version = version
        self._signatures: Mapping[str, Signature] | None = None
        self._traits: Traits | None = None

    def signatures(self, timeout_s: float | None = None) -> Mapping[str, Signature]:
        """The model's signatures, by name.

        Raises:
            PredictionError: The address does not answer, or knows no such model.
        """
        if self._signatures is None:
            response = self._channel.metadata(metadata_request(self.name, self._version), timeout_s)
            optional = self.traits(timeout_s).optional
            self._signatures = {
                key: replace(signature, optional=frozenset(alias for of, alias in optional if of == key))
                for key, signature in signatures_in(response).items()
            }
        return self._signatures

    def signature(self, name: str = "", timeout_s: float | None = None) -> Signature:
        """The signature of that name, `serving_default` if it is empty.

        Raises:
            PredictionError: There is none, or the model cannot be asked.
        """
        return choose(self.signatures(timeout_s), name)

    def traits(self, timeout_s: float | None = None) -> Traits:
        """What the model says of itself; nothing, where it is served by somebody who does not know the question.

        Raises:
            PredictionError: The address does not answer.
        """
        if self._traits is None:
            request = metadata_request(self.name, self._version, [TRAITS_FIELD])
            try:
                self._traits = traits_in(self._channel.metadata(request, timeout_s))
            except PredictionError as refusal:
                if refusal.code not in _NOT_KNOWN:
                    raise
                self._traits = Traits()
        return self._traits

    def sunset(self, timeout_s: float | None = None) -> datetime | None:
        """Its last moment as its server says it now, in UTC; None where that says nothing of it.

        Raises:
            PredictionError: The address does not answer, or knows no such model.
        """
        return sunset_in(self._channel.status_headers(status_request(self.name), timeout_s))

    def tensors(self, inputs: Iterable[str], outputs: Iterable[str], timeout_s: float | None = None) -> Signature:
        """A signature over tensors of the graph, by their own names ("dense/BiasAdd:0").

        Raises:
            PredictionError: The graph has no such tensor, or the deployment does not let callers name them.
        """
        fed, fetched = tuple(inputs), tuple(outputs)
        fields = {name: tensor_field(name) for name in (*fed, *fetched)}
        response = self._channel.metadata(metadata_request(self.name, self._version, fields.values()), timeout_s)
        specs = tensors_in(response, fields)
        return Signature(TENSORS, "", {name: specs[name] for name in fed}, {name: specs[name] for name in fetched})

    def predict(
        self,
        inputs: Mapping[str, object],
        signature: str = "",
        outputs: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """The model's outputs for these inputs.

        Args:
            inputs: A value for each of the signature's inputs: an array, a number, a text, bytes, or nested lists.
            signature: Its name; `serving_default` if it is empty.
            outputs: The outputs that are wanted; all, if none is named.
            timeout_s: The deadline; None waits for ever.

        Returns:
            Arrays by the outputs' names; strings as objects of `bytes`, bfloat16 as the `uint16` of its bits.

        Raises:
            PredictionError: The inputs do not fit the signature, or the request was refused or failed.
        """
        chosen = self.signature(signature, timeout_s)
        return self.ask(chosen, chosen.fit(inputs), outputs, timeout_s)

    def answer(self, request: Message, timeout_s: float | None = None) -> Message:
        """TF Serving's own messages, of whatever package they are; one that names no model means this one.

        Raises:
            PredictionError: It is no PredictRequest, or was refused or failed.
        """
        spec = getattr(request, "model_spec", None)
        if spec is not None and not spec.name:
            request = copy.deepcopy(request)
            request.model_spec.name = self.name  # type: ignore[attr-defined]  # looked for above
        return self._channel.predict_stock(request, timeout_s)

    def _is_another(self, known: Signature) -> bool:
        """Whether the address has another model of that name than when it was looked at; then it is looked at anew."""
        try:
            there = signatures_in(self._channel.metadata(metadata_request(self.name, self._version), _LOOK_TIMEOUT_S))
        except PredictionError:
            return False
        found = there.get(known.name)
        if known.name == TENSORS or (found and replace(found, optional=known.optional) == known):
            return False
        self._signatures = self._traits = None
        return True

    def ask(
        self,
        signature: Signature,
        arrays: Mapping[str, np.ndarray],
        outputs: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """As `predict`, with arrays that fit a signature which is at hand: also one that `tensors` has made."""
        if signature.name == TENSORS:
            outputs = tuple(outputs) or signature.outputs
        request = predict_request(self.name, arrays, signature, outputs, self._version)
        try:
            response = ask_until_there(
                lambda left_s: self._channel.predict(request, left_s),
                timeout_s,
                repeatable=self.traits(timeout_s).repeatable(signature.name),
            )
        except PredictionError as error:
            if error.code in _OF_ANOTHER_MODEL and self._is_another(signature):
                remedy = f"Another model is served as {self.name} by now: look at its signatures, or load it again."
                raise PredictionError(error.problem, error.code, remedy) from error
            raise
        return to_arrays(response.outputs)
