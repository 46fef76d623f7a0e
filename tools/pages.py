"""`make docs`: writes every generated page; `tests/unit/test_pages.py` says which of them is not up to date."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tools import (
    audit_page,
    command_line_page,
    compare_page,
    containment_page,
    limits_page,
    python_api_page,
    security_page,
)

__all__ = ["DOCS", "PAGES"]

DOCS = Path(__file__).resolve().parents[1] / "docs"

PAGES: Mapping[str, Callable[[], str]] = {
    "audit.md": audit_page.page,
    "command-line.md": command_line_page.page,
    "compare.md": compare_page.page,
    "containment.md": containment_page.page,
    "limits-and-errors.md": limits_page.page,
    "python-api.md": python_api_page.page,
    "security.md": security_page.page,
}


def main() -> int:
    """Writes them all."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
