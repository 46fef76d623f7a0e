"""A real browser, Debian's Chromium, as whoever opens a page of ours has it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

__all__ = ["HOSTILE", "PAPER", "SCHEMES", "Visit", "browser", "visit"]

# How a page of ours is preferred, and the colour of its paper then.
SCHEMES = ("light", "dark")
PAPER = {"light": "rgb(251, 251, 249)", "dark": "rgb(20, 24, 27)"}
# What a model or a caller may be called; on a page each of them is text and nothing else.
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "{{ 7 * 7 }}{% raw %}",
    r"$\frac{1}{0}$",
    "\u202egnirts\u2069\x1b[31m\x00\ud800",
    "</style><style>*{display:none}</style>",
    "</title></svg><foreignObject><body onload=alert(1)>",
    "https://127.0.0.1:9/track",
    "n" * 100_000,
)

AXE: Final = resources.files("axe_playwright_python") / "axe.min.js"
# A test's own pages need no second wall, and root has none to put up; no request leaves for the browser's maker.
ARGUMENTS: Final = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run")


@contextmanager
def browser() -> Iterator[Browser]:
    """One for as long as it is wanted; it takes a second to start.

    Raises:
        RuntimeError: There is none.
    """
    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError("There is no chromium: make tools installs it.")
    with sync_playwright() as driver:
        started = launched(driver, program)
        try:
            yield started
        finally:
            started.close()


def launched(driver: Playwright, program: str) -> Browser:
    return driver.chromium.launch(executable_path=program, args=list(ARGUMENTS))


@dataclass
class Visit:
    """A page that was opened.

    Attributes:
        said: What it wrote to the console, and what went wrong in it.
        asked: The addresses that it asked for, its own left out.
    """

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def violations(self, *rules: str) -> list[str]:
        """What axe finds, by these of its rules alone, or by all: WCAG 2.2 AA, and its own best practices."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        chosen = {"runOnly": list(rules)} if rules else {}
        found: dict[str, Any] = self.page.evaluate(
            "options => axe.run(options)", {**chosen, "resultTypes": ["violations"]}
        )
        return [
            f"{each['id']}: {node['target']} {node['failureSummary']}"
            for each in found["violations"]
            for node in each["nodes"]
        ]


@contextmanager
def visit(
    browser: Browser,
    place: Path | str,
    *,
    scheme: Any = "light",
    width: int = 1280,
    media: Any = None,
    scripts: bool = True,
) -> Iterator[Visit]:
    """Opens a file, or an address.

    Args:
        scripts: Whether the person lets any run.
        scheme: `light` or `dark`, as the person prefers it.
        media: `print`, to see it as it is printed.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
    )
    try:
        found = Visit(context.new_page())
        found.page.emulate_media(media=media, color_scheme=scheme)
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        own = place if isinstance(place, str) else place.absolute().as_uri()
        found.page.on("request", lambda request: found.asked.append(request.url) if request.url != own else None)
        found.page.goto(own, wait_until="load")
        yield found
    finally:
        context.close()
