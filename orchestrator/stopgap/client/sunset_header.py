"""The day that a server says its model will be gone: `Sunset` of RFC 8594, among what comes with an answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Union

__all__ = ["Metadata", "sunset_in"]

Metadata = Iterable[tuple[str, Union[str, bytes]]]


def sunset_in(metadata: Metadata) -> datetime | None:
    """In UTC; None where the server says nothing of it, or nothing that can be read."""
    for key, value in metadata:
        if key == "sunset" and isinstance(value, str):
            return moment(value)
    return None


def moment(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):  # whoever answers may say anything
        return None
    return parsed.replace(tzinfo=timezone.utc) if parsed.tzinfo is None else parsed.astimezone(timezone.utc)
