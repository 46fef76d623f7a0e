"""The few cases that a report shows, with what was asked and answered: redacted first, then cut to what can be shown.

Knows what can be made of a tensor for a person to see; not how a page shows it.
"""

from __future__ import annotations

import base64
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stopgap_protos.example_pb2 import SequenceExample
from stopgap_protos.prediction_log_pb2 import PredictionLog

from stopgap.client.dtypes import dtype_of_array
from stopgap.client.tensors import to_arrays, to_proto
from stopgap.comparison.document import KeptCase, KeptTensor
from stopgap.comparison.pairs import Answer, Pair, Tensors
from stopgap.comparison.plan import Plan
from stopgap.journal.redaction import Redaction, Rule, example_in
from stopgap.printable import printable

__all__ = ["kept_cases", "redaction_of"]

KEY_BYTES = 32
MOST_NUMBERS = 32
MOST_STRINGS = 8
MOST_FEATURES = 40
LONGEST_TEXT = 2000
LEAST_SIDE, MOST_SIDE = 8, 160  # of a picture; larger ones are thinned out
LARGEST_FILE = 256 << 10  # bytes of an encoded picture
CHANNELS = (1, 3, 4)
# As browsers know them, by how such a file begins.
PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


def redaction_of(plan: Plan) -> Redaction:
    """The plan's rules, under a key that nobody else will have: equal values can be told within one report alone.

    Raises:
        JournalError: A rule cannot be.
    """
    rules = [Rule(each.how, each.tensor, each.feature) for each in plan.redact]
    return Redaction(rules, os.urandom(KEY_BYTES))


def kept_cases(pairs: Iterable[Pair], plan: Plan, redaction: Redaction) -> Iterator[KeptCase]:
    """What is shown of each, outputs under the legacy model's names, as both models' measures see them."""
    for pair in pairs:
        asked = dict(pair.case.inputs)
        if plan.label in pair.case.extras:
            asked.setdefault(plan.label, pair.case.extras[plan.label])
        inputs, legacy = redacted(asked, pair.legacy, redaction, plan.batched)
        _, candidate = redacted({}, plan.mapping.told(pair.candidate), redaction, plan.batched)
        yield KeptCase(pair.case.number, inputs, legacy, candidate)


def redacted(
    inputs: Tensors, answer: Answer, redaction: Redaction, batched: bool
) -> tuple[tuple[KeptTensor, ...], tuple[KeptTensor, ...]]:
    """The same redaction as the journal's, of the same message; what is none of TensorFlow's is not shown at all."""
    log = PredictionLog()
    request, response = log.predict_log.request.inputs, log.predict_log.response.outputs
    for tensors, message in ((inputs, request), (answer.outputs or {}, response)):
        for name, array in tensors.items():
            if dtype_of_array(array) is not None:
                message[name].CopyFrom(to_proto(array))
    redaction.apply(log)
    failed = () if answer.failure is None else (KeptTensor("", "", (), "text", failure_of(answer)),)
    return shown(request, batched), (*shown(response, batched), *failed)


def failure_of(answer: Answer) -> str:
    """A model may repeat in its error what it was asked: the code alone."""
    return printable(f"failed: {answer.failure.code}", 60) if answer.failure else ""


def shown(protos: Mapping[str, Any], batched: bool) -> tuple[KeptTensor, ...]:
    return tuple(tensor_as_seen(name, array, batched=batched) for name, array in sorted(to_arrays(protos).items()))


def tensor_as_seen(name: str, array: NDArray[Any], *, batched: bool = True) -> KeptTensor:
    """As a picture, a text or numbers, whatever comes closest to what a person would want to see.

    Args:
        batched: Whether the first axis counts rows; of several the first one is a picture.
    """
    known = (name, "string" if array.dtype.hasobject else str(array.dtype), array.shape)
    if array.dtype.hasobject:
        return strings_as_seen(known, [bytes(each) for each in array.ravel()[:MOST_STRINGS]], array.size)
    picture = as_picture(array[0] if batched and array.ndim and array.shape[0] else array)
    if picture is not None:
        pixels, told = picture
        content = base64.b64encode(pixels.tobytes()).decode("ascii")
        return KeptTensor(*known, "pixels", told, content, pixels.shape)
    first = ", ".join(number_as_seen(each) for each in array.ravel()[:MOST_NUMBERS].tolist())
    return KeptTensor(*known, "numbers", first + (", …" if array.size > MOST_NUMBERS else ""))


def strings_as_seen(known: tuple[str, str, tuple[int, ...]], texts: list[bytes], size: int) -> KeptTensor:
    kind = next((kind for start, kind in PICTURES.items() if texts and texts[0].startswith(start)), "")
    if kind and size == 1 and len(texts[0]) <= LARGEST_FILE:
        return KeptTensor(*known, kind, "", base64.b64encode(texts[0]).decode("ascii"))
    lines = [text_as_seen(each) for each in texts]
    more = [f"… and {size - len(texts)} more"] if size > len(texts) else []
    return KeptTensor(*known, "text", "\n".join([*lines, *more])[: LONGEST_TEXT * MOST_STRINGS])


def text_as_seen(text: bytes) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # protobuf 3 says so where a text is no message
        example = example_in(text) if text else None
    if example is not None and (example.context.feature or example.feature_lists.feature_list):
        return features_as_seen(example)
    return by_line(text[: 4 * LONGEST_TEXT].decode("utf-8", "backslashreplace"))


def features_as_seen(example: SequenceExample) -> str:
    """One feature a line."""
    lines = []
    for name, feature in sorted(example.context.feature.items())[:MOST_FEATURES]:
        values = list(getattr(feature, feature.WhichOneof("kind") or "float_list").value[:MOST_STRINGS])
        texts = [
            each.decode("utf-8", "backslashreplace") if isinstance(each, bytes) else number_as_seen(each)
            for each in values
        ]
        lines.append(printable(f"{name}: {', '.join(texts)}", LONGEST_TEXT // MOST_STRINGS))
    lines += [f"{printable(name, 60)}: a list" for name in sorted(example.feature_lists.feature_list)[:MOST_FEATURES]]
    return "\n".join(lines)


def by_line(text: str) -> str:
    """Printable, with its own line breaks."""
    return "\n".join(printable(line, LONGEST_TEXT) for line in text[:LONGEST_TEXT].split("\n"))


def number_as_seen(number: Any) -> str:
    return f"{number:.6g}" if isinstance(number, float) else str(number)


def as_picture(array: NDArray[Any]) -> tuple[NDArray[np.uint8], str] | None:
    """Bytes of shape [height, width, channels], and what black and white stand for; None where it is none."""
    found = array[..., np.newaxis] if array.ndim == 2 else array
    if not is_picture(found.shape) or found.dtype.kind not in "uif":
        return None
    thinned = found[:: -(-found.shape[0] // MOST_SIDE), :: -(-found.shape[1] // MOST_SIDE)]
    if thinned.dtype == np.uint8:
        return np.ascontiguousarray(thinned), ""
    values = thinned.astype(np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = (0.0, 1.0) if finite.min() >= 0 and 0.5 < finite.max() <= 1 else (finite.min(), finite.max())
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return np.ascontiguousarray(np.clip(scaled * 255, 0, 255).astype(np.uint8)), f"black {low:.4g}, white {high:.4g}"


def is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and min(shape[:2]) >= LEAST_SIDE and shape[2] in CHANNELS
