"""The benchmark's model: it is what it says, by numpy's reckoning of the same layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stopgap.client.tensors import to_array, to_proto
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse

from tests.graphs import digits
from tests.runtime.test_parent import runtime

pytestmark = pytest.mark.slow


def test_what_it_answers_is_what_its_layers_are(legacy_bundle: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(1).random((3, 28, 28, 1), np.float32)
    request = PredictRequest()
    request.model_spec.name = "digits"
    request.inputs["image"].CopyFrom(to_proto(images))
    with runtime(legacy_bundle, digits(tmp_path / "digits"), tmp_path, name="digits") as served:
        answer = served.worker().predict(request)
    assert answer.code == 0, answer.text
    probs = to_array(PredictResponse.FromString(answer.message).outputs["probs"])
    np.testing.assert_allclose(probs, reckoned(images), atol=1e-5)


def reckoned(images: np.ndarray) -> np.ndarray:
    """Bilinear sampling, zero outside, and the dense layers, from the same draws."""
    draw = np.random.default_rng(28)
    pixels = images.reshape(-1, 784)
    shifts = pixels @ draw.normal(0, 0.01, (784, 2)).astype(np.float32)
    layer = np.stack([moved(image[..., 0], *shift) for image, shift in zip(images, shifts)]).reshape(-1, 784)
    for wide, narrow in ((784, 300), (300, 100)):
        layer = np.maximum(layer @ draw.normal(0, wide**-0.5, (wide, narrow)).astype(np.float32), 0)
    logits = layer @ draw.normal(0, 0.1, (100, 10)).astype(np.float32)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probs


def moved(image: np.ndarray, right: float, down: float) -> np.ndarray:
    wide = np.pad(image, 30)
    x, y = np.meshgrid(np.arange(28) + right, np.arange(28) + down)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, along = x - left, y - top
    result: np.ndarray = sum(
        weight * wide[top + row + 30, left + column + 30]
        for row, column, weight in (
            (0, 0, (1 - across) * (1 - along)),
            (0, 1, across * (1 - along)),
            (1, 0, (1 - across) * along),
            (1, 1, across * along),
        )
    )
    return result
