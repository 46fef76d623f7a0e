"""What somebody who has taken over a worker would try: everything here must be refused, by one wall or another.

Nothing of it does harm where it works. What would change something for others asks for what cannot be, beyond the point
at which the kernel refuses whoever may not; what makes a file takes it away again; nobody is stopped or signalled. What
exhausts is apart, in `exhaustion`: that is for a sandbox that nobody is served by.
"""

from __future__ import annotations

from typing import Final

from .attempt import Attempt
from .calls import CALLS
from .exhaustion import EXHAUSTION
from .files import FILES
from .network import NETWORK
from .privileges import PRIVILEGES
from .processes import PROCESSES

__all__ = ["BREAK_OUTS", "EXHAUSTION"]

BREAK_OUTS: Final[tuple[Attempt, ...]] = (*NETWORK, *PROCESSES, *PRIVILEGES, *FILES, *CALLS)
"""None of them needs what another has left."""
