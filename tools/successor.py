"""The demonstration's successor: the legacy model's architecture written anew in TensorFlow 2, and trained anew.

Nothing of tf.contrib is in it: what `tf.contrib.resampler` did is fifteen lines of `tf.gather_nd`. It starts from the
legacy model's variables but for its last layer, which is begun anew and learns from the legacy model's own answers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

__all__ = ["drawings", "retrained"]

SIZE = 24
LAST_LAYER = "fully_connected_2"
IMAGES, BATCH, STEPS = 4096, 256, 3000
IMAGE = tf.TensorSpec([None, SIZE, SIZE, 1], tf.float32, "image")

Array = NDArray[np.float32]


def drawings(drawn: np.random.Generator, count: int) -> Array:
    """Images as users might send them: three to six soft strokes each, [count, 24, 24, 1]."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    image = np.zeros((count, SIZE, SIZE), np.float32)
    for number in range(6):
        across, down = drawn.uniform(0, SIZE - 1, (2, count, 1, 1))
        width, ink = drawn.uniform(1.5, 5, (count, 1, 1)), drawn.uniform(0, 3, (count, 1, 1))
        there = (number < 3) | (drawn.random((count, 1, 1)) < 0.5)
        image += (there * ink * np.exp(-((x - across) ** 2 + (y - down) ** 2) / (2 * width**2))).astype(np.float32)
    return image[..., np.newaxis]


def retrained(checkpoint: Path, teacher: Callable[[Array], Array], folder: Path) -> float:
    """Trains the successor, and saves it for TensorFlow 2.

    Args:
        checkpoint: The legacy model's variables.
        teacher: Images to the legacy model's probabilities.
        folder: Where the SavedModel is to lie.

    Returns:
        In which share of images that it has not been trained on it names the legacy model's class.
    """
    drawn = np.random.default_rng(1)
    model = SpatialTransformer(begun_anew(checkpoint, drawn))
    images, unseen = drawings(drawn, IMAGES), drawings(drawn, 1024)
    learn(model, images, teacher(images), drawn)
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.answer})
    return float((model.answer(unseen)["probs"].numpy().argmax(1) == teacher(unseen).argmax(1)).mean())


def begun_anew(checkpoint: Path, drawn: np.random.Generator) -> dict[str, Array]:
    """The legacy model's variables, but for the last layer's: it has to learn what to make of the others again."""
    reader = tf.train.load_checkpoint(str(checkpoint))
    variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    for name, value in variables.items():
        if name.startswith(LAST_LAYER):
            variables[name] = drawn.normal(0, 0.05, value.shape).astype(np.float32)
    return variables


def learn(model: SpatialTransformer, images: Array, answers: Array, drawn: np.random.Generator) -> None:
    """To say what the legacy model says, not only its first choice. What comes before the last layer stays as it is."""
    features = model.features(model.answer(images)["warped"]).numpy()
    variables = [value for name, value in model.weights.items() if name.startswith(LAST_LAYER)]
    optimizer = tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(0.02, STEPS))
    optimizer.build(variables)

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step(seen: tf.Tensor, wanted: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(tf.reduce_sum(wanted * tf.math.log(model.probs(seen)), axis=1))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(STEPS):
        chosen = drawn.integers(0, len(images), BATCH)
        step(tf.constant(features[chosen]), tf.constant(answers[chosen]))


class SpatialTransformer(tf.Module):  # type: ignore[misc]  # likewise
    """Straightens an image, then says which class it is of.

    Args:
        variables: By the names that they have in the legacy model's checkpoint.
    """

    def __init__(self, variables: dict[str, Array]) -> None:
        super().__init__()
        self.weights = {name: tf.Variable(value) for name, value in variables.items()}

    @tf.function(input_signature=[IMAGE])  # type: ignore[untyped-decorator]  # likewise
    def answer(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """As the legacy model's signature has it: `probs`, and `theta` and `warped` on the way to them."""
        theta = self.theta(image)
        warped = resampled(image, looked_at(theta))
        return {"probs": self.probs(self.features(warped)), "theta": theta, "warped": warped}

    def theta(self, image: tf.Tensor) -> tf.Tensor:
        """How an image lies: an affine transformation, [batch, 6]."""
        seen = self._convolved(self._convolved(image, "Conv"), "Conv_1")
        hidden = tf.tanh(self._dense(tf.reshape(seen, [-1, 216]), "fully_connected"))
        return self._dense(hidden, "fully_connected_1")

    def features(self, warped: tf.Tensor) -> tf.Tensor:
        """What the last layer sees of a straightened image, [batch, 864]."""
        return tf.reshape(self._convolved(warped, "Conv_2"), [-1, 864])

    def probs(self, features: tf.Tensor) -> tf.Tensor:
        """The last layer, [batch, 10]."""
        return tf.nn.softmax(self._dense(features, LAST_LAYER))

    def _convolved(self, image: tf.Tensor, layer: str) -> tf.Tensor:
        sums = tf.nn.conv2d(image, self.weights[f"{layer}/weights"], strides=2, padding="SAME")
        return tf.nn.relu(sums + self.weights[f"{layer}/biases"])

    def _dense(self, values: tf.Tensor, layer: str) -> tf.Tensor:
        return values @ self.weights[f"{layer}/weights"] + self.weights[f"{layer}/biases"]


def looked_at(theta: tf.Tensor) -> tf.Tensor:
    """Where each pixel of the straightened image is taken from: x and y, of an affine transformation."""
    half = (SIZE - 1) / 2
    line = (tf.range(SIZE, dtype=tf.float32) - half) / half
    x, y = tf.meshgrid(line, line)
    grid = tf.reshape(tf.stack([x, y, tf.ones_like(x)], axis=-1), [-1, 3])
    return tf.reshape((grid @ tf.transpose(tf.reshape(theta, [-1, 2, 3]), [0, 2, 1]) + 1) * half, [-1, SIZE, SIZE, 2])


def resampled(image: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """What `tf.contrib.resampler.resampler` gives: between four pixels bilinearly, and 0 beyond the edge."""
    padded = tf.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]])
    corner = tf.floor(places)
    part = places - corner
    total = tf.zeros_like(image)
    for right in (0.0, 1.0):
        for below in (0.0, 1.0):
            x, y = corner[..., 0] + right + 1, corner[..., 1] + below + 1
            column, row = (tf.cast(tf.clip_by_value(each, 0, SIZE + 1), tf.int32) for each in (x, y))
            share = tf.abs(1 - right - part[..., 0]) * tf.abs(1 - below - part[..., 1])
            total += share[..., tf.newaxis] * tf.gather_nd(padded, tf.stack([row, column], axis=-1), batch_dims=1)
    return total
