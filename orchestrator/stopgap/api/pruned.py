"""A function between tensors of a model's graph, whatever signatures it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union

from stopgap.api.functions import SignatureFunction
from stopgap.client.status import INVALID_ARGUMENT
from stopgap.errors import PredictionError

if TYPE_CHECKING:
    from stopgap.api.opening import Connection

__all__ = ["PrunedFunction", "Structure"]

Structure = Union[str, "list[str]", "tuple[str, ...]", Mapping[str, str]]


class PrunedFunction:
    """Called with values for what is fed, positional or by keyword as `feeds` says; gives what is fetched, in its form.

    Raises:
        PredictionError: The graph has no such tensor, or the deployment does not let callers name them.
    """

    def __init__(self, connection: Connection, feeds: Structure, fetches: Structure) -> None:
        self.feeds = feeds
        self.fetches = fetches
        timeout_s = connection.source.timeout_s
        signature = connection.remote.tensors(dict.fromkeys(names(feeds)), dict.fromkeys(names(fetches)), timeout_s)
        self._function = SignatureFunction(connection, signature)

    def __call__(self, /, *values: Any, **named: Any) -> Any:
        """Tensors where TensorFlow is installed, else arrays."""
        return self._shaped(self._function(**self._inputs(values, named)))

    def numpy(self, /, *values: Any, **named: Any) -> Any:
        """As a call, but with arrays out whether or not TensorFlow is there."""
        return self._shaped(self._function.numpy(**self._inputs(values, named)))

    def _inputs(self, values: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        keywords = self.feeds if isinstance(self.feeds, Mapping) else {}
        positional = [] if isinstance(self.feeds, Mapping) else names(self.feeds)
        if len(values) != len(positional) or named.keys() != keywords.keys():
            wanted = ", ".join([*positional, *(f"{keyword}=" for keyword in keywords)])
            raise PredictionError("These are not the values that are fed.", INVALID_ARGUMENT, f"Give: {wanted}")
        return {**dict(zip(positional, values)), **{keywords[keyword]: value for keyword, value in named.items()}}

    def _shaped(self, outputs: Mapping[str, Any]) -> Any:
        if isinstance(self.fetches, str):
            return outputs[self.fetches]
        if isinstance(self.fetches, Mapping):
            return {keyword: outputs[name] for keyword, name in self.fetches.items()}
        return type(self.fetches)(outputs[name] for name in self.fetches)


def names(structure: Structure) -> list[str]:
    """All that the structure names, in its order.

    Raises:
        PredictionError: It is none that names tensors.
    """
    if isinstance(structure, str):
        return [structure]
    members = list(structure.values()) if isinstance(structure, Mapping) else structure
    if not isinstance(members, (list, tuple)) or not all(isinstance(member, str) for member in members):
        raise PredictionError(
            f"{structure!r} names no tensors.", INVALID_ARGUMENT, 'Give a name ("image:0"), a list or a dict of names.'
        )
    return list(members)
