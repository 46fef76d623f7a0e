"""Where the operations came from that TensorFlow 1.15 had and TensorFlow 2 has not.

The table beside this file was computed once: the op libraries of 1.15.5's wheel by their folders, and, for what is
built into 1.15 itself, the module whose Python made such nodes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

__all__ = ["contrib_module"]

_TABLE: Final = Path(__file__).with_name("contrib_ops.json")


def contrib_module(op: str) -> str | None:
    """The module that an operation left with; None where it was none of TensorFlow 1.15's, or is still there."""
    modules: dict[str, list[str]] = json.loads(_TABLE.read_bytes())
    return next((module for module, ops in modules.items() if op in ops), None)
