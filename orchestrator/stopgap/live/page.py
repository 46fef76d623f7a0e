"""The page as HTML: the whole of it, and the part that changes. Nothing in it runs but the one script that is ours."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from markupsafe import Markup

from stopgap.live.drawings import Drawings
from stopgap.live.gathering import Snapshot
from stopgap.live.overview import overview_of
from stopgap.report.templates import templates

__all__ = ["Page"]

HERE: Final = Path(__file__).parent


class Page:
    """Written once for each snapshot, however many look at it, and not at all where nobody does."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._templates = templates(HERE)
        self._drawings = Drawings()
        self._lock = threading.Lock()
        self._written = -1, ""

    def changing(self, snapshot: Snapshot) -> str:
        """The part that changes; it may hold whatever a model, a caller or a file has put there."""
        with self._lock:
            if self._written[0] != snapshot.number:
                self._drawings.begin()
                found = self._templates.get_template("now.html").render(
                    overview=overview_of(snapshot), drawings=self._drawings
                )
                self._written = snapshot.number, found
            return self._written[1]

    def whole(self, snapshot: Snapshot) -> str:
        """One HTML file, which can be read without a script too."""
        now = Markup(self.changing(snapshot))  # noqa: S704 - a template's of ours, in which everything is escaped
        return self._templates.get_template("page.html").render(now=now, every_s=f"{self._interval_s:g}")
