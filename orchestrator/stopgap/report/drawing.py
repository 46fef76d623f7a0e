"""From matplotlib's figures to SVG that stands in a page of ours: with `charts.py` what imports matplotlib.

What matplotlib writes is a document of its own, with colours and fonts in it. Here it becomes an element whose colours
are classes, so that a page's stylesheet has light and dark; without `style`, which a strict Content-Security-Policy
forbids; and with a title and a description, which a screen reader tells.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "CANDIDATE",
    "EVIDENCE",
    "FAIL",
    "GRID",
    "INK",
    "LEGACY",
    "MARGIN",
    "MUTED",
    "NARROW",
    "WIDE",
    "Sheet",
    "Size",
    "drawn",
]

# Colours that nobody sees: each stands for a class, `fill-NAME` or `stroke-NAME`, of the page's stylesheet.
INK, MUTED, GRID = "#010101", "#010102", "#010103"
LEGACY, CANDIDATE, EVIDENCE, MARGIN = "#010105", "#010106", "#010107", "#010108"
FAIL = "#010109"
NAMES: Final = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    LEGACY: "legacy",
    CANDIDATE: "candidate",
    EVIDENCE: "evidence",
    MARGIN: "margin",
    FAIL: "fail",
}
# Its settings are one process's, whichever thread makes them.
ONE_AT_A_TIME: Final = threading.Lock()
POINTS_PER_INCH: Final = 72  # so that a unit of matplotlib's SVG is a pixel
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
NUMBER: Final = re.compile(r"-?\d+\.\d{2,}")

# `text.parse_math`: a name that a model made up is no formula.
SETTINGS: Final = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "text.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Size:
    """Of a drawing, in pixels; what is drawn in one is not scaled down to the other, so that its words stay legible."""

    name: str
    width: int
    text: float


@dataclass(frozen=True)
class Sheet:
    """What is drawn on.

    Attributes:
        title: What it is, in a few words; any text. Of two drawings in one page no two are to be told alike.
        description: What it shows, for those who do not see it.
    """

    size: Size
    title: str
    description: str

    @property
    def name(self) -> str:
        """Differs for each drawing of a page."""
        told = f"{self.title}\n{self.description}\n{self.size.name}"
        return f"c{hashlib.sha256(told.encode('utf-8', 'replace')).hexdigest()[:10]}"


WIDE, NARROW = Size("wide", 520, 12.0), Size("narrow", 340, 12.0)


def drawn(paint: Callable[[Axes], None], height: int, sheet: Sheet) -> str:
    """An `<svg>` element as text.

    Args:
        paint: Given the axes, and nothing but them.
        height: In pixels.
        sheet: How wide it is, and what it is called.
    """
    settings: Any = {**SETTINGS, "font.size": sheet.size.text, "svg.hashsalt": sheet.name}
    with ONE_AT_A_TIME, mpl.rc_context(settings), warnings.catch_warnings():
        # Which glyphs its own font has does not matter: the page's is taken.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure((sheet.size.width / POINTS_PER_INCH, height / POINTS_PER_INCH), layout="constrained")
        paint(figure.add_subplot())
        written = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=metadata)
    return as_element(written.getvalue(), sheet)


def as_element(document: str, sheet: Sheet) -> str:
    name = sheet.name
    root = ElementTree.fromstring(document)  # noqa: S314 - matplotlib wrote it, and escapes what it was given
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}style", f"{{{SVG}}}metadata"):
                parent.remove(child)
    identities = {found: f"{name}-{number}" for number, found in enumerate(referred_to(root))}
    for element in root.iter():
        restyle(element)
        rename(element, identities)
        for key in ("d", "x", "y", "transform", "points"):
            if key in element.attrib:
                element.set(
                    key, NUMBER.sub(lambda found: f"{float(found[0]):.1f}", element.attrib[key].replace("\n", ""))
                )
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("class", f"chart {sheet.size.name}")
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-description")
    for place, (tag, text) in enumerate((("title", sheet.title), ("desc", sheet.description))):
        told = ElementTree.Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{'title' if tag == 'title' else 'description'}"})
        told.text = text
        root.insert(place, told)
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(root, encoding="unicode")


def referred_to(root: ElementTree.Element) -> list[str]:
    """The identities that something in it needs; matplotlib gives one to everything."""
    text = [value for element in root.iter() for value in element.attrib.values()]
    return sorted(
        {
            found
            for value in text
            for found in re.findall(r"^#([\w.-]+)$|url\(#([\w.-]+)\)", value)
            for found in found
            if found
        }
    )


def restyle(element: ElementTree.Element) -> None:
    """From a `style` to what may stand in an element's attributes, and classes where it is one of our colours."""
    classes = []
    for declaration in element.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if not key or key in ("font-family", "font", "stroke-linejoin", "stroke-linecap", "stroke-dashoffset"):
            continue
        if key in ("fill", "stroke") and value in NAMES:
            classes.append(f"{key}-{NAMES[value]}")
        else:
            element.set(key, value)
    if element.tag == f"{{{SVG}}}text" and not classes:
        classes.append("fill-ink")
    if classes:
        element.set("class", " ".join(classes))


def rename(element: ElementTree.Element, identities: dict[str, str]) -> None:
    own = element.attrib.pop("id", "")
    if own in identities:
        element.set("id", identities[own])
    target = element.attrib.pop(f"{{{XLINK}}}href", "")
    if target:
        element.set("href", f"#{identities[target[1:]]}")
    clip = element.get("clip-path", "")
    if clip:
        element.set("clip-path", f"url(#{identities[clip[5:-1]]})")
