"""What a bundle's TensorFlow and its op libraries register: written down once, so that readers need not load them."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from stopgap_protos.graph_pb2 import OpDef, OpList

from .capi import OP_LIBRARIES_FILE, OPS_FILE, Bundle, TensorFlow
from .faults import Code, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["OpRegistry", "module_of", "write"]


@dataclass(frozen=True)
class OpRegistry:
    """Everything that a bundle can run.

    Attributes:
        ops: The definitions by name.
        libraries: For each operation that no core library has: the library that brings it.
    """

    ops: Mapping[str, OpDef]
    libraries: Mapping[str, Path]

    @classmethod
    def read(cls, bundle: Bundle) -> OpRegistry:
        """Reads what `write` wrote.

        Raises:
            Fault: It is not there or not readable (FAILED_PRECONDITION).
        """
        try:
            ops = OpList.FromString((bundle.folder / OPS_FILE).read_bytes())
            libraries = json.loads((bundle.folder / OP_LIBRARIES_FILE).read_bytes())
        except (OSError, ValueError, DecodeError) as error:
            raise Fault(Code.FAILED_PRECONDITION, f"{bundle.folder} has no readable op registry: {error}") from error
        return cls(
            ops={op.name: op for op in ops.op},
            libraries={op: bundle.folder / path for path, library in libraries.items() for op in library["ops"]},
        )

    def libraries_for(self, ops: Iterable[str]) -> tuple[Path, ...]:
        """The op libraries that these operations come from, in a stable order."""
        return tuple(sorted({self.libraries[op] for op in ops if op in self.libraries}))


def write(bundle_folder: Path) -> None:
    """Loads every library of a bundle and writes `ops.pb` and `op_libraries.json` into its folder, each in one step.

    Raises:
        Fault: A library does not load.
        OSError: The folder cannot be written to.
    """
    bundle = Bundle.read(bundle_folder)
    tensorflow = TensorFlow(bundle)
    libraries = {}
    for library in bundle.op_libraries:
        relative = library.relative_to(bundle_folder.absolute()).as_posix()
        ops = sorted(op.name for op in tensorflow.load_op_library(library).op)
        libraries[relative] = {"module": module_of(relative), "ops": ops}
    _replace(bundle_folder / OP_LIBRARIES_FILE, json.dumps(libraries, indent=1, sort_keys=True).encode())
    _replace(bundle_folder / OPS_FILE, tensorflow.registered_ops().SerializeToString(deterministic=True))


def module_of(op_library: str) -> str:
    """The Python module that used to load an op library: lib/contrib/image/… was tf.contrib.image's."""
    folders = op_library.split("/")[1:-1]
    if folders[:1] == ["contrib"]:
        return ".".join(["tf", *folders[:2]])
    return "tf"


def _replace(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink()
        raise
