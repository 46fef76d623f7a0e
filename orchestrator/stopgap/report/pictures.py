"""Kept tensors as a page shows them: pixels as PNG, encoded pictures as they are, everything else as text."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from typing import Final

import numpy as np
from PIL import Image

from stopgap.comparison.document import KeptCase, KeptTensor
from stopgap.report.layout import Card, Picture

__all__ = ["card_of", "picture_of"]

CHANNELS: Final = (1, 3, 4)
MOST_PIXELS: Final = 1 << 20
# Never what a browser runs: no SVG. And only as long as a file of that kind, whoever wrote the result.
ENCODED: Final[Mapping[str, bytes]] = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
}


def card_of(case: KeptCase, title: str, told: str) -> Card:
    """A case with all that is shown of it."""
    return Card(
        title,
        told,
        [picture_of(each) for each in case.inputs],
        [picture_of(each) for each in case.legacy],
        [picture_of(each) for each in case.candidate],
    )


def picture_of(tensor: KeptTensor) -> Picture:
    """Whatever is in it; what is no picture although it says so is told to be none."""
    shape = "×".join(map(str, tensor.shape)) or "scalar"
    form = f"{tensor.dtype} {shape}" if tensor.dtype else ""
    told = ", ".join(filter(None, (form, tensor.text if tensor.shown == "pixels" else "")))
    if tensor.shown in ("text", "numbers"):
        return Picture(tensor.name, told, text=tensor.text)
    source = source_of(tensor)
    if not source:
        return Picture(tensor.name, told, text="(no picture)")
    return Picture(tensor.name, told, source, alternative=f"{tensor.name or 'value'}, as a picture")


def source_of(tensor: KeptTensor) -> str:
    try:
        content = base64.b64decode(tensor.content, validate=True)
    except (binascii.Error, ValueError):
        return ""
    if tensor.shown == "pixels":
        return source_of_pixels(content, tensor.size)
    start = ENCODED.get(tensor.shown)
    return data_url(tensor.shown, content) if start and content.startswith(start) else ""


def source_of_pixels(content: bytes, size: tuple[int, ...]) -> str:
    if len(size) != 3 or size[2] not in CHANNELS or min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        return ""
    if len(content) != size[0] * size[1] * size[2]:
        return ""
    pixels = np.frombuffer(content, np.uint8).reshape(size)
    written = io.BytesIO()
    Image.fromarray(pixels[..., 0] if size[2] == 1 else pixels).save(written, "PNG", optimize=True)
    return data_url("image/png", written.getvalue())


def data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
