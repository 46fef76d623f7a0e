"""How hard a sandbox's wall is: the words for it that a person may type."""

from __future__ import annotations

__all__ = ["GVISOR", "ISOLATIONS", "RUNC"]

RUNC = "runc"  # namespaces and control groups of the host's kernel, as Docker has them
GVISOR = "gvisor"  # a kernel of its own between the sandbox and the host's
ISOLATIONS = (RUNC, GVISOR)
