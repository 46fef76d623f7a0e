"""The live page at work: one thread looks at everything, again and again; whoever asks is shown what it saw last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stopgap import report
from stopgap.live.gathering import Snapshot
from stopgap.live.page import Page
from stopgap.live.server import Reply, Server, new_token, served_at

__all__ = ["Lookout", "live"]

HERE: Final = Path(__file__).parent
FILES: Final = {
    "live.js": (HERE, "text/javascript; charset=utf-8"),
    "live.css": (HERE, "text/css; charset=utf-8"),
    "icon.svg": (HERE, "image/svg+xml"),
    "page.css": (Path(str(report.__file__)).parent, "text/css; charset=utf-8"),
}
HTML: Final = "text/html; charset=utf-8"
# Nothing takes so long but a look that will never end.
STUCK_S: Final = 15.0
NOT_NOW: Final = Reply(503, "text/plain; charset=utf-8", b"Nothing has been seen for a while.\n")


class Lookout:
    """What was seen last, for as many as look; `run` is one thread's work."""

    def __init__(self, look: Callable[[], Snapshot], interval_s: float) -> None:
        self._look, self._interval_s = look, interval_s
        self._seen = threading.Condition()
        self._last: Snapshot | None = None
        self._at_s = 0.0

    def run(self) -> None:
        """Without an end."""
        while True:
            began_s = time.monotonic()
            snapshot = self._look()
            with self._seen:
                self._last, self._at_s = snapshot, time.monotonic()
                self._seen.notify_all()
            time.sleep(max(0.0, self._interval_s - (time.monotonic() - began_s)))

    def last(self) -> Snapshot | None:
        """None where nothing was seen for longer than can be."""
        with self._seen:
            self._seen.wait_for(lambda: self._last is not None, STUCK_S)
            stuck = time.monotonic() - self._at_s > self._interval_s + STUCK_S
            return None if stuck else self._last


def live(look: Callable[[], Snapshot], port: int, interval_s: float) -> tuple[Server, str]:
    """A server that shows what is seen, and its address. It looks from now on; it answers when it serves.

    Raises:
        DeploymentError: The port is taken.
    """
    lookout, page = Lookout(look, interval_s), Page(interval_s)

    def shown(write: Callable[[Snapshot], str]) -> Callable[[], Reply]:
        def reply() -> Reply:
            snapshot = lookout.last()
            return NOT_NOW if snapshot is None else Reply(200, HTML, write(snapshot).encode("utf-8"))

        return reply

    pages = {"": shown(page.whole), "now": shown(page.changing), **{name: a_file(name) for name in FILES}}
    server, address = served_at(port, new_token(), pages)
    threading.Thread(target=lookout.run, name="stopgap-live-looks", daemon=True).start()
    return server, address


def a_file(name: str) -> Callable[[], Reply]:
    folder, kind = FILES[name]
    content = (folder / name).read_bytes()
    return lambda: Reply(200, kind, content)
