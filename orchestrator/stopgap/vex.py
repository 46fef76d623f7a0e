"""What stopgap says to what a scanner says of TensorFlow 1.15.5: an OpenVEX document (openvex.dev, 0.2.0), pure.

Contained is not absent: what can happen in a sandbox is "affected", with what it comes to there. "not_affected" is what
is not in the bundle, or not reached there, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from stopgap.advisories import Advisory, Table
from stopgap.bundle_rows import BundleRow

__all__ = ["document"]

CONTEXT = "https://openvex.dev/ns/v0.2.0"
PAGE = "docs/containment.md says, promise by promise, what keeps it on which engine."
UNDER_INVESTIGATION = (
    "In PyPA's database the advisory's versions begin after 1.15.5; in GitHub's they may begin at 0. Nobody has tried "
    "it there. Reckon with it: what it would come to in a sandbox is as for the others of its kind."
)


def document(table: Table, row: BundleRow, version: str) -> dict[str, Any]:
    """As JSON can hold it; the same for the same table.

    Args:
        table: The advisories.
        row: The bundle that they are about.
        version: Of stopgap.
    """
    name, _, tensorflow = row.wheel.requirement.partition("==")
    product = {"@id": f"pkg:pypi/{name}@{tensorflow}", "hashes": {"sha-256": row.wheel.sha256}}
    statements = [{**statement(advisory, table), "products": [product]} for advisory in table.advisories]
    digest = hashlib.sha256(json.dumps([version, statements]).encode()).hexdigest()
    return {
        "@context": CONTEXT,
        "@id": f"https://openvex.dev/docs/public/vex-{digest}",
        "author": "stopgap",
        "timestamp": table.reviewed,
        "version": 1,
        "tooling": f"stopgap {version}",
        "statements": statements,
    }


def statement(advisory: Advisory, table: Table) -> dict[str, Any]:
    vulnerability: dict[str, Any] = {"@id": advisory.source, "name": advisory.id}
    if advisory.aliases:
        vulnerability["aliases"] = list(advisory.aliases)
    return {"vulnerability": vulnerability, **judged(advisory, table)}


def judged(advisory: Advisory, table: Table) -> dict[str, str]:
    if advisory.lacks:
        lack = table.lacking.get(advisory.lacks, table.lacking["operation"])
        return {
            "status": "not_affected",
            "justification": lack.justification,
            "impact_statement": lack.because.format(advisory.lacks),
        }
    effect = table.effects[advisory.effect]
    rests = f"Contained, not absent. It rests on: {'; '.join(effect.promises)}. {PAGE}"
    if advisory.told_of_later and not advisory.tried:
        return {"status": "under_investigation", "status_notes": f"{UNDER_INVESTIGATION} {rests}"}
    tried = f"Tried: it ends a bare TensorFlow 1.15.5 ({', '.join(advisory.tried)}). " if advisory.tried else ""
    return {"status": "affected", "action_statement": effect.action, "status_notes": tried + rests}
