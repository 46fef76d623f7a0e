"""What is taken out of a log before it is written. Changes messages in place; knows nothing of files.

Who cannot tell what he has before him takes all of it out: a field that is not known, a string that is no tf.Example
where a feature of one is to be taken out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message
from stopgap_protos.example_pb2 import Example, Feature, Features, SequenceExample
from stopgap_protos.inference_pb2 import Input
from stopgap_protos.prediction_log_pb2 import PredictionLog
from stopgap_protos.tensor_pb2 import DataType, TensorProto

from stopgap.client.tensors import to_array
from stopgap.errors import JournalError, PredictionError
from stopgap.journal.logs import one_answer

__all__ = ["DROP", "HASH", "ZERO", "Redaction", "Rule", "example_in", "rule_in"]

DROP, ZERO, HASH = "drop", "zero", "hash"
DIGEST_BYTES = 16


@dataclass(frozen=True)
class Rule:
    """What is to become of one thing.

    Attributes:
        how: `drop`: it is not written. `zero`: zeros, or empty strings, of the same number and shape. `hash`: digests
            under the journal's own key, by which two can be told to be equal and nothing else: one for each string, one
            in all for numbers, which become a string so.
        tensor: The input's, or the output's, name; of a session run the tensor's. Empty: of whatever holds `feature`.
        feature: Of the tf.Examples in that tensor, or in the `Input` of Classify, Regress and MultiInference; only that
            is taken out. Empty: the whole tensor is meant.
    """

    how: str
    tensor: str = ""
    feature: str = ""

    def __post_init__(self) -> None:
        """
        Raises:
            JournalError: It says nothing that can be done.
        """
        if self.how not in (DROP, ZERO, HASH):
            raise JournalError(f"{self.how!r} is no redaction.", f"Choose {DROP}, {ZERO} or {HASH}.")
        if not self.tensor and not self.feature:
            raise JournalError("A redaction has to name a tensor, a feature, or both.")

    def __str__(self) -> str:
        """`hash:examples/user`, say."""
        return f"{self.how}:{self.tensor}{'/' if self.feature else ''}{self.feature}"


def rule_in(text: str) -> Rule:
    """`hash:examples/user`, say; the reverse of a rule's text.

    Raises:
        JournalError: It is none.
    """
    how, colon, named = text.partition(":")
    if not colon:
        raise JournalError(f"{text!r} is no redaction.", "Write drop:TENSOR, zero:TENSOR or hash:TENSOR/FEATURE, say.")
    tensor, _, feature = named.partition("/")
    return Rule(how, tensor, feature)


class Redaction:
    """Rules, and the key of those that hash.

    Args:
        rules: Of several for the same thing the first holds.
        key: At most 64 bytes. Without it nobody can find out a value by hashing all that it might be.
    """

    def __init__(self, rules: Sequence[Rule], key: bytes) -> None:
        self.rules, self._key = tuple(rules), key

    def apply(self, log: PredictionLog) -> tuple[str, ...]:
        """Takes out of a log what the rules name, and with any rule all fields that are not known.

        Returns:
            The rules that found something, as text.

        Raises:
            JournalError: The log is a stream's, which the rules do not reach.
        """
        if not self.rules:
            return ()
        within = one_answer(log)
        if within is None:
            raise JournalError("A log of a stream cannot be redacted, so it is not written.")
        log.DiscardUnknownFields()
        found: set[Rule] = set()
        for side in (within.request, within.response):
            self._tensors(side, found)
        self._input(getattr(within.request, "input", None), found)
        return tuple(str(rule) for rule in self.rules if rule in found)

    def _tensors(self, message: Message, found: set[Rule]) -> None:
        for rule, name, tensor in self._named(message):
            if rule.feature:
                if self._examples_in(tensor, rule):
                    found.add(rule)
                continue
            found.add(rule)
            if rule.how == DROP:
                remove_tensor(message, name)
            else:
                self._change(tensor, rule.how)

    def _named(self, message: Message) -> Iterator[tuple[Rule, str, TensorProto]]:
        """For each tensor first the rule that means all of it, or else those that mean what is in it."""
        for name, tensor in tensors_of(message):
            mine = [rule for rule in self.rules if rule.tensor == name or (not rule.tensor and rule.feature)]
            whole = [rule for rule in mine if not rule.feature]
            for rule in whole[:1] or mine:
                yield rule, name, tensor

    def _change(self, tensor: TensorProto, how: str) -> None:
        """No values at all are zeros of the shape (TensorFlow's own rule for a list that is too short)."""
        if how == HASH and tensor.dtype == DataType.DT_STRING:
            hashed = [self._digest(text) for text in strings_of(tensor)]
            clear_values(tensor)
            tensor.string_val.extend(hashed)
            return
        content = tensor.SerializeToString(deterministic=True)
        clear_values(tensor)
        if how == HASH:
            tensor.dtype = DataType.DT_STRING
            tensor.ClearField("tensor_shape")
            tensor.tensor_shape.SetInParent()
            tensor.string_val.append(self._digest(content))

    def _examples_in(self, tensor: TensorProto, rule: Rule) -> bool:
        """What a rule names and cannot be read loses its values; what it does not name is left alone."""
        texts = strings_of(tensor)
        if not texts:
            if rule.tensor:
                clear_values(tensor)
            return bool(rule.tensor)
        strings, touched = [], False
        for text in texts:
            example = example_in(text)
            if example is None:
                strings.append(b"" if rule.tensor else text)
                touched |= bool(rule.tensor)
                continue
            # protobuf 3 reads what is none up to where it goes wrong, and only warns: then its length is another.
            touched |= bool(rule.tensor) and example.ByteSize() != len(text)
            touched |= self._sequence(example, rule)
            strings.append(example.SerializeToString(deterministic=True))
        if touched:
            clear_values(tensor)
            tensor.string_val.extend(strings)
        return touched

    def _sequence(self, example: SequenceExample, rule: Rule) -> bool:
        """An Example is a SequenceExample without lists: both have their features in field 1."""
        touched = self._features(example.context, rule)
        lists = example.feature_lists.feature_list
        if rule.feature in lists:
            touched = True
            if rule.how == DROP:
                del lists[rule.feature]
            else:
                self._feature_values(lists[rule.feature].feature, rule.how)
        return touched

    def _input(self, given: Input | None, found: set[Rule]) -> None:
        if given is None:
            return
        for rule in self.rules:
            if rule.tensor or not rule.feature:
                continue
            for example in examples_of(given):
                if self._features(example.features, rule):
                    found.add(rule)

    def _features(self, features: Features, rule: Rule) -> bool:
        if rule.feature not in features.feature:
            return False
        if rule.how == DROP:
            del features.feature[rule.feature]
        else:
            self._feature_values([features.feature[rule.feature]], rule.how)
        return True

    def _feature_values(self, values: Iterable[Feature], how: str) -> None:
        for feature in values:
            if how == ZERO:
                zero_feature(feature)
            elif feature.WhichOneof("kind") == "bytes_list":
                feature.bytes_list.value[:] = [self._digest(text) for text in feature.bytes_list.value]
            else:
                digest = self._digest(feature.SerializeToString(deterministic=True))
                feature.bytes_list.value[:] = [digest]

    def _digest(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=self._key).hexdigest().encode()


def tensors_of(message: Message) -> list[tuple[str, TensorProto]]:
    """By name: inputs, outputs, and what a session run is fed and gives."""
    known: Any = message
    names = {field.name for field in message.DESCRIPTOR.fields}
    for mapping in {"inputs", "outputs"} & names:
        return list(getattr(known, mapping).items())
    for listed in {"feed", "tensor"} & names:
        return [(each.name, each.tensor) for each in getattr(known, listed)]
    return []


def remove_tensor(message: Message, name: str) -> None:
    known: Any = message
    for field in message.DESCRIPTOR.fields:
        values = getattr(known, field.name)
        if field.name in ("inputs", "outputs"):
            del values[name]
        elif field.name in ("feed", "tensor"):
            kept = [each for each in values if each.name != name]
            del values[:]
            values.extend(kept)


def strings_of(tensor: TensorProto) -> list[bytes]:
    """All of them, flat; of a tensor that is none, or none of strings, there are none."""
    if tensor.dtype != DataType.DT_STRING:
        return []
    try:
        return list(to_array(tensor).reshape(-1))
    except PredictionError:
        return []


def clear_values(tensor: TensorProto) -> None:
    """Takes out all but what it is: dtype and shape."""
    for field in tensor.DESCRIPTOR.fields:
        if field.name not in ("dtype", "tensor_shape"):
            tensor.ClearField(field.name)


def example_in(text: bytes) -> SequenceExample | None:
    """None where it is neither an Example nor a SequenceExample, or has more in it than those can have."""
    try:
        example = SequenceExample.FromString(text)
    except DecodeError:
        return None
    kept = example.ByteSize()
    example.DiscardUnknownFields()
    return example if example.ByteSize() == kept else None


def examples_of(given: Input) -> Iterator[Example]:
    if given.WhichOneof("kind") == "example_list_with_context":
        yield from given.example_list_with_context.examples
        yield given.example_list_with_context.context
    else:
        yield from given.example_list.examples


def zero_feature(feature: Feature) -> None:
    kind = feature.WhichOneof("kind")
    if kind is not None:
        values = getattr(feature, kind).value
        values[:] = [b"" if kind == "bytes_list" else 0] * len(values)
