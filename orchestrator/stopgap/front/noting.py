"""What the routes of a split add so that its ledger hears of each answer: an identity, who asked, and which share held.

- The response header `stopgap-request-id` is made for this answer alone, and overwrites whatever a sandbox says.
- The key is copied by a filter from the header that the route names to where the log finds it.
- The share is in the route's metadata: so that it belongs to the very routes by which the answer went.
"""

from __future__ import annotations

from typing import Any

from stopgap.front.settings import Split

__all__ = ["CALLER", "CALLERS_FILTER", "NOTES", "REQUEST_ID", "SHARE", "callers_key", "identity", "share_held"]

REQUEST_ID = "stopgap-request-id"
"""The response header by which a caller may say later what came of an answer."""

CALLERS_FILTER = "stopgap.caller"
NOTES = "stopgap.split"
CALLER, SHARE = "caller", "share"


def identity() -> dict[str, Any]:
    """Envoy's HeaderValueOption that gives each answer its own."""
    return {"header": {"key": REQUEST_ID, "value": "%UNIQUE_ID%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def callers_key(split: Split) -> dict[str, Any]:
    """The fields of a Route by which its callers' key, just what is hashed for the split, is told to the log."""
    value = {
        "metadata_namespace": NOTES,
        "key": CALLER,
        "regex_value_rewrite": {"pattern": {"regex": f"^(?:{split.key})$"}, "substitution": r"\1"},
    }
    config = "envoy.extensions.filters.http.header_to_metadata.v3.Config"
    rules = [{"header": split.header, "on_header_present": value}]
    return {CALLERS_FILTER: {"@type": f"type.googleapis.com/{config}", "request_rules": rules}}


def share_held(split: Split) -> dict[str, Any]:
    """A route's metadata."""
    return {"filter_metadata": {NOTES: {SHARE: str(split.share)}}}
