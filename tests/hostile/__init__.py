"""Models and requests that attack whoever serves them; tests/data/hostile/README.md tells of their files' form."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from stopgap.client.tensors import to_proto
from stopgap.containment.specs import MODEL_FOLDER
from stopgap_protos.serving_pb2 import PredictRequest

__all__ = ["CORE", "HOSTILE", "NAMES", "NEIGHBOUR", "Attack", "array_of", "attack", "laid_out"]

HOSTILE: Final = Path(__file__).parents[1] / "data" / "hostile"
NAMES: Final = tuple(sorted(path.parent.name for path in HOSTILE.glob("*/case.json")))
CORE: Final = tuple(name for name in NAMES if json.loads((HOSTILE / name / "case.json").read_text())["tier"] == 1)
NEIGHBOUR: Final = "ok_baseline"


@dataclass(frozen=True)
class Attack:
    """One case.

    Attributes:
        what: What it does, in a few words.
        folder: Of the model's version.
        request: What it takes.
        repeat: How often that is to be sent.
        dtypes: NumPy's names of the dtypes of the request's inputs, by alias.
    """

    name: str
    what: str
    folder: Path
    request: PredictRequest
    repeat: int
    dtypes: Mapping[str, str]


def attack(name: str, called: str = "") -> Attack:
    """The one of that name. Of two requests, the one that is meant for a sandbox, which is to break out of more.

    Args:
        called: The name that the model is served under, if that is another.
    """
    case = json.loads((HOSTILE / name / "case.json").read_text())
    tensors = case.get("sandbox_input", case["input"])
    request = PredictRequest()
    request.model_spec.name = called or name
    for alias, tensor in tensors.items():
        request.inputs[alias].CopyFrom(to_proto(array_of(tensor["value"], tensor["dtype"], tensor["shape"])))
    dtypes = {alias: tensor["dtype"] for alias, tensor in tensors.items()}
    return Attack(name, case["what"], HOSTILE / name / "1", request, case["repeat"], dtypes)


def array_of(value: Any, dtype: str, shape: list[int] | None = None) -> NDArray[Any]:
    """Nested lists as `case.json` has them: strings as {"b64": …}, or simply in base64; NaN as a string."""
    array = np.array(_strings(value), dtype=object) if dtype == "string" else np.array(value, dtype=dtype)
    return array if shape is None else array.reshape(shape)


def _strings(value: Any) -> Any:
    if isinstance(value, list):
        return [_strings(each) for each in value]
    text = base64.b64decode(value["b64"] if isinstance(value, dict) else value)
    return text.replace(b"@MODELDIR@", os.fsencode(MODEL_FOLDER))


def laid_out(name: str, parent: Path) -> Path:
    """Copies a case below `parent`, with what no repository can hold: FIFOs, links out of it, 200 MB of rubbish.

    Returns:
        The folder of the model's version.
    """
    shutil.copytree(HOSTILE / NEIGHBOUR, parent / NEIGHBOUR, dirs_exist_ok=True)
    shutil.copytree(HOSTILE / name, parent / name, dirs_exist_ok=True)
    version = parent / name / "1"
    version.mkdir(exist_ok=True)
    if name in _LINKS:
        for place, target in _LINKS[name].items():
            (version / place).parent.mkdir(exist_ok=True)
            (version / place).symlink_to(target)
    elif name in _FIFOS:
        os.mkfifo(version / _FIFOS[name])
    elif name == "file_pb_is_dir":
        (version / "saved_model.pb").mkdir()
    elif name == "file_pb_garbage":
        (version / "saved_model.pb").write_bytes(bytes(range(256)) * 4096 * 200)
    return version


_GRAPH: Final = "saved_model.pb"
_LINKS: Final[Mapping[str, Mapping[str, str]]] = {
    "file_pb_dev_zero": {_GRAPH: "/dev/zero"},
    "file_pb_symlink_loop": {_GRAPH: _GRAPH},
    "file_pb_symlink_passwd": {_GRAPH: "/etc/passwd"},
    "file_pb_symlink_other_model": {
        _GRAPH: f"../../{NEIGHBOUR}/1/{_GRAPH}",
        "variables": f"../../{NEIGHBOUR}/1/variables",
    },
    "read_asset_symlink": {"assets/vocab.txt": "/etc/passwd"},
}
_FIFOS: Final = {
    "file_pb_fifo": _GRAPH,
    "file_vars_fifo": "variables/variables.data-00000-of-00001",
}
