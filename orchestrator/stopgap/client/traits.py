"""What a model served by stopgap says of itself beyond TF Serving's contract; other servers say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from stopgap_protos.serving_pb2 import GetModelMetadataResponse
from stopgap_protos.traits_pb2 import ModelTraits

from stopgap.client.examples import Feature, features_of
from stopgap.client.status import INTERNAL
from stopgap.errors import PredictionError

__all__ = ["TENSORS", "TRAITS_FIELD", "Traits", "tensor_field", "traits_in"]

TRAITS_FIELD = "stopgap"
# In place of a signature's name, where a request's inputs and outputs are tensors of the graph.
TENSORS = "stopgap:tensors"


@dataclass(frozen=True)
class Traits:
    """What a model has told; of one that tells nothing, what is safe to assume.

    Attributes:
        state_changing: The signatures whose running changes what later runs see; None where nobody told.
        tensors_allowed: Whether requests may name the graph's own tensors.
        optional: By signature and name, the inputs that the graph has a default for.
        features: By signature and input, the features that are parsed out of that input's tf.Examples.
    """

    state_changing: frozenset[str] | None = None
    tensors_allowed: bool = False
    optional: frozenset[tuple[str, str]] = frozenset()
    features: Mapping[tuple[str, str], Mapping[str, Feature]] = field(default_factory=dict)

    def repeatable(self, signature: str) -> bool:
        """Whether asking that signature twice is as good as once: known to be so, not guessed."""
        if self.state_changing is None:
            return False
        return not self.state_changing if signature == TENSORS else signature not in self.state_changing


def traits_in(response: GetModelMetadataResponse) -> Traits:
    """
    Raises:
        PredictionError: INTERNAL; the answer cannot be read.
    """
    try:
        told = ModelTraits.FromString(response.metadata[TRAITS_FIELD].value)
    except DecodeError as error:
        raise PredictionError("What the model says of itself cannot be read.", INTERNAL) from error
    return Traits(
        state_changing=frozenset(told.state_changing),
        tensors_allowed=told.tensors_allowed,
        optional=frozenset((one.signature, one.alias) for one in told.optional_inputs),
        features={(one.signature, one.alias): features_of(one) for one in told.example_inputs},
    )


def tensor_field(name: str) -> str:
    """The metadata field that tells of one of the graph's own tensors."""
    return f"stopgap:tensor:{name}"
