"""A model at an address, called by signature with arrays: what a person holds in place of the model itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from stopgap_protos.tensor_pb2 import TensorProto

from stopgap.client.channel import ServingChannel
from stopgap.client.requests import metadata_request, predict_request
from stopgap.client.signatures import Signature, choose, signatures_in
from stopgap.client.tensors import to_array
from stopgap.errors import PredictionError

__all__ = ["RemoteModel"]


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

    def signatures(self, timeout_s: float | None = None) -> Mapping[str, Signature]:
        """The model's signatures, by name.

        Raises:
            PredictionError: The address does not answer, or knows no such model.
        """
        if self._signatures is None:
            response = self._channel.metadata(metadata_request(self.name, self._version), timeout_s)
            self._signatures = signatures_in(response)
        return self._signatures

    def signature(self, name: str = "", timeout_s: float | None = None) -> Signature:
        """The signature of that name, `serving_default` if it is empty.

        Raises:
            PredictionError: There is none, or the model cannot be asked.
        """
        return choose(self.signatures(timeout_s), name)

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
        request = predict_request(self.name, chosen.fit(inputs), chosen, outputs, self._version)
        response = self._channel.predict(request, timeout_s)
        return {name: _array(name, response.outputs[name]) for name in sorted(response.outputs)}


def _array(name: str, proto: TensorProto) -> np.ndarray:
    try:
        return to_array(proto)
    except PredictionError as error:
        raise PredictionError(f"The output {name!r}: {error.problem}", error.code) from error
