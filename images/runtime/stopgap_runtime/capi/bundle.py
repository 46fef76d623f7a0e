"""A bundle folder: one TensorFlow's libraries and what they register, as written by the orchestrator."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..faults import Code, Fault

__all__ = ["OPS_FILE", "OP_LIBRARIES_FILE", "Bundle"]

OPS_FILE: Final = "ops.pb"
OP_LIBRARIES_FILE: Final = "op_libraries.json"
_FIRST_WITH_STRING_OBJECTS: Final = (2, 4)


@dataclass(frozen=True)
class Bundle:
    """The libraries of one TensorFlow; paths are absolute.

    Attributes:
        core: Loaded at once and in this order; the last one carries the C API.
        op_libraries: Loaded when a graph needs them.
    """

    folder: Path
    name: str
    tensorflow: str
    core: tuple[Path, ...]
    op_libraries: tuple[Path, ...]

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        """Reads `bundle.json`.

        Raises:
            Fault: The folder holds no bundle, or one of another form (FAILED_PRECONDITION).
        """
        try:
            described = json.loads((folder / "bundle.json").read_bytes())
            libraries = {
                kind: tuple(folder.absolute() / library for library in described[kind])
                for kind in ("core", "op_libraries")
            }
            return cls(folder=folder, name=described["name"], tensorflow=described["tensorflow"], **libraries)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Fault(Code.FAILED_PRECONDITION, f"{folder} holds no TensorFlow bundle: {error}") from error

    @property
    def strings_are_objects(self) -> bool:
        """Whether string tensors hold TF_TString objects (2.4 and later) or a table of offsets."""
        return tuple(map(int, self.tensorflow.split(".")[:2])) >= _FIRST_WITH_STRING_OBJECTS
