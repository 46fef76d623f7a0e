"""TensorFlow's C API at arm's length: typed, checked, copy in and copy out. The only ctypes of TensorFlow."""

from .binding import Buffer, TensorFlowError
from .bundle import OP_LIBRARIES_FILE, OPS_FILE, Bundle
from .library import TensorFlow
from .session import IN_CALLERS_THREAD, Endpoints, Session, in_pool

__all__ = [
    "IN_CALLERS_THREAD",
    "OPS_FILE",
    "OP_LIBRARIES_FILE",
    "Buffer",
    "Bundle",
    "Endpoints",
    "Session",
    "TensorFlow",
    "TensorFlowError",
    "in_pool",
]
