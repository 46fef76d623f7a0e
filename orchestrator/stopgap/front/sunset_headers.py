"""What a front says with every answer of a model: since when it is deprecated, and when it will be gone."""

from __future__ import annotations

from datetime import datetime
from email.utils import format_datetime
from typing import Any

from stopgap.front.settings import Upstream

__all__ = ["deprecation", "http_date", "sunset_headers"]


def sunset_headers(upstream: Upstream) -> list[dict[str, Any]]:
    """Envoy's HeaderValueOptions for a model's route. Whatever its sandbox says of that is overwritten."""
    return [
        _header("deprecation", deprecation(upstream.deprecated_at)),
        _header("sunset", http_date(upstream.sunset_at)),
    ]


def http_date(moment: datetime) -> str:
    """As RFC 8594 has it in `Sunset`: RFC 9110's IMF-fixdate, `Wed, 31 Mar 2027 23:59:59 GMT`."""
    return format_datetime(moment, usegmt=True)


def deprecation(moment: datetime) -> str:
    """As RFC 9745 has it in `Deprecation`: RFC 9651's Date, `@1795348800`, in whole seconds since 1970."""
    return f"@{int(moment.timestamp())}"


def _header(key: str, value: str) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
