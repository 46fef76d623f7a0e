"""The one request that every path of the benchmark gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def example_inputs(model: Path) -> dict[str, NDArray[np.generic]]:
    """The first golden case's inputs with a batch of one."""
    golden = np.load(model / "golden.npz", allow_pickle=False)
    inputs = {key.removeprefix("in."): golden[key] for key in golden.files if key.startswith("in.")}
    return {name: array[:1] for name, array in inputs.items()}
