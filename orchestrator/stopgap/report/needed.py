"""Whether what a report takes is installed: said before anybody waits for a comparison, not after it."""

from __future__ import annotations

import importlib.util
from typing import Final

from stopgap.errors import ComparisonError

__all__ = ["check_installed"]

NEEDED: Final = {"jinja2": "Jinja2", "matplotlib": "matplotlib"}


def check_installed() -> None:
    """
    Raises:
        ComparisonError: Something is not there.
    """
    absent = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if absent:
        raise ComparisonError(
            f"A report is drawn by matplotlib and laid out by Jinja2; not installed: {', '.join(absent)}.",
            "pip install 'stopgap[report]'\nWithout: --out FILE keeps the result, and stopgap report shows it later.",
        )
