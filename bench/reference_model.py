"""The model that the bounds are for: a 28 × 28 image, a Resampler, three dense layers, as where they were measured.

A ratio to the bare call says little without its model: the smaller the run, the larger everything around it looks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def reference_model(folder: Path) -> Path:
    """The model in the zoo's form: its only version, and the request that it gets, one image."""
    sys.path.insert(0, str(ROOT))
    from tests.graphs import digits  # noqa: PLC0415 - found only now

    digits(folder / "1")
    image = np.random.default_rng(0).random((1, 28, 28, 1), np.float32)
    np.savez(folder / "golden.npz", **{"in.image": image})  # type: ignore[arg-type]  # its own keywords come later
    return folder
