"""Whether what a page takes is installed: said before anybody waits for it, not after."""

from __future__ import annotations

import importlib.util
from typing import Final

from stopgap.errors import ComparisonError

__all__ = ["check_installed"]

NEEDED: Final = {"jinja2": "Jinja2", "matplotlib": "matplotlib"}
REPORT: Final = "A report"
WITHOUT_REPORT: Final = "--out FILE keeps the result, and stopgap report shows it later."


def check_installed(what: str = REPORT, without: str = WITHOUT_REPORT) -> None:
    """
    Args:
        what: That is wanted.
        without: What can be done without it.

    Raises:
        ComparisonError: Something is not there.
    """
    absent = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if absent:
        raise ComparisonError(
            f"{what} is drawn by matplotlib and laid out by Jinja2; not installed: {', '.join(absent)}.",
            f"pip install 'stopgap[report]'\nWithout: {without}",
        )
