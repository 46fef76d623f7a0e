"""A Keras 3 model that is built on a sandboxed one: fitted above it, saved, loaded, and used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import stopgap

from tests import zoo

STN = zoo.load("stn_affine_resampler")
IMAGE = STN.cases[0].inputs["image"]
PROBS = STN.cases[0].outputs["probs"]


@pytest.fixture(scope="module")
def model() -> Iterator[stopgap.LoadedModel]:
    with stopgap.load(str(zoo.ZOO / STN.name), engine="bubblewrap") as loaded:
        yield loaded


def built_on(model: stopgap.LoadedModel) -> keras.Model:
    image = keras.Input((24, 24, 1))
    probs = model.keras_layer(output="probs", name="legacy")(image)
    return keras.Model(image, keras.layers.Dense(1, name="head")(probs))


def test_a_layer_knows_its_outputs_without_asking(model: stopgap.LoadedModel) -> None:
    outputs = model.keras_layer()(keras.Input((24, 24, 1)))
    assert {name: tensor.shape for name, tensor in outputs.items()} == {
        "probs": (None, 10),
        "theta": (None, 6),
        "warped": (None, 24, 24, 1),
    }
    assert model.keras_layer(output="probs")(keras.Input((24, 24, 1), batch_size=5)).shape == (5, 10)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras's own, on NumPy 2.4
def test_what_stands_above_it_is_fitted_saved_and_loaded(model: stopgap.LoadedModel, tmp_path: Path) -> None:
    whole = built_on(model)
    assert [weight.path for weight in whole.trainable_weights] == ["head/kernel", "head/bias"]
    whole.compile("sgd", "mse")
    images = np.repeat(IMAGE, 8, 0)
    before = whole.evaluate(images, np.ones((8, 1)), verbose=0)
    whole.fit(images, np.ones((8, 1)), epochs=5, batch_size=3, verbose=0)
    assert whole.evaluate(images, np.ones((8, 1)), verbose=0) < before

    whole.save(tmp_path / "whole.keras")
    with pytest.raises((ValueError, TypeError), match="safe_mode=False"):
        keras.models.load_model(tmp_path / "whole.keras")
    again = keras.models.load_model(tmp_path / "whole.keras", safe_mode=False)
    np.testing.assert_allclose(again.predict(images, verbose=0), whole.predict(images, verbose=0), atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras's own, on NumPy 2.4
def test_another_program_loads_it_once_it_has_imported_the_layer(model: stopgap.LoadedModel, tmp_path: Path) -> None:
    file = tmp_path / "whole.keras"
    built_on(model).save(file)
    loads = f"import keras; print(keras.models.load_model({str(file)!r}, safe_mode=False).output_shape)"
    alone, after_import = (python(f"{imports}{loads}") for imports in ("", "import stopgap.api.keras_layer; "))
    assert "Could not locate class 'SignatureLayer'" in alone.stderr
    assert after_import.stdout == "(None, 1)\n", after_import.stderr


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_it_cannot_be_exported_and_that_is_said(model: stopgap.LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="sandbox"):
        built_on(model).export(tmp_path / "exported", verbose=False)


def test_unknown_outputs_and_ambiguous_inputs_are_told(model: stopgap.LoadedModel) -> None:
    with pytest.raises(stopgap.PredictionError, match="no output 'nope'"):
        model.keras_layer(output="nope")
