"""How a C function of TensorFlow is declared and called; it knows the types of C, not what the functions are for.

Two rules make the calls safe. Each C type has a pointer class of its own, so a Session where a Graph is due is a
`ctypes.ArgumentError` and not a crash. A function that ends in `TF_Status*` never shows it: the binder lends
one for the call, and raises what it says.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Callable

from ..faults import Code, Fault

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Binder",
    "Buffer",
    "BufferPointer",
    "GraphPointer",
    "LibraryPointer",
    "OperationPointer",
    "Output",
    "SessionOptionsPointer",
    "SessionPointer",
    "TensorFlowError",
    "TensorPointer",
]


class TensorFlowError(Fault):
    """What TensorFlow answered instead of a result."""


class _StatusPointer(ctypes.c_void_p):
    """TF_Status*"""


class GraphPointer(ctypes.c_void_p):
    """TF_Graph*"""


class LibraryPointer(ctypes.c_void_p):
    """TF_Library*"""


class OperationPointer(ctypes.c_void_p):
    """TF_Operation*, which lives as long as its graph."""


class SessionOptionsPointer(ctypes.c_void_p):
    """TF_SessionOptions*"""


class SessionPointer(ctypes.c_void_p):
    """TF_Session*"""


class TensorPointer(ctypes.c_void_p):
    """TF_Tensor*"""


class Buffer(ctypes.Structure):
    """TF_Buffer, whose fields are public: bytes lent to TensorFlow, or bytes of TensorFlow's to be read."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p))
    content: bytes

    @classmethod
    def lending(cls, content: bytes) -> Buffer:
        """A buffer over `content`, which lives as long as the buffer does."""
        buffer = cls(ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p), len(content), None)
        buffer.content = content
        return buffer

    def read(self) -> bytes:
        """A copy of what the buffer holds."""
        return ctypes.string_at(self.data, self.length) if self.length else b""


BufferPointer = ctypes.POINTER(Buffer)


class Output(ctypes.Structure):
    """TF_Output: one of the tensors that an operation makes."""

    _fields_ = (("operation", OperationPointer), ("index", ctypes.c_int))


class Binder:
    """Declares functions of one loaded library and of the libraries that it depends on.

    Args:
        path: The library, an absolute path. Loaded RTLD_LOCAL: the framework library's BoringSSL would otherwise take
            the place of Python's OpenSSL.

    Raises:
        OSError: The library cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        self._long = ctypes.CDLL(str(path))
        self._short = ctypes.PyDLL(str(path))
        self._unused: list[_StatusPointer] = []  # all OK; lists pop and append in one step, whichever thread calls
        self._new_status = self.short("TF_NewStatus", _StatusPointer)
        self._delete_status = self.short("TF_DeleteStatus", None, _StatusPointer)
        self._code = self.short("TF_GetCode", ctypes.c_int, _StatusPointer)
        self._message = self.short("TF_Message", ctypes.c_char_p, _StatusPointer)

    def has(self, name: str) -> bool:
        """Whether the library exports this function."""
        return hasattr(self._long, name)

    def long(self, name: str, returns: type[Any] | None, *takes: type[Any]) -> Callable[..., Any]:
        """A function that may take its time: other Python threads run meanwhile."""
        return _declared(self._long, name, returns, takes)

    def short(self, name: str, returns: type[Any] | None, *takes: type[Any]) -> Callable[..., Any]:
        """A function of microseconds: it keeps the interpreter's lock, which costs less than handing it over."""
        return _declared(self._short, name, returns, takes)

    def checked(self, name: str, returns: type[Any] | None, *takes: type[Any]) -> Callable[..., Any]:
        """A long function whose last argument is a `TF_Status*`: the caller leaves it out and gets its error raised."""
        function = _declared(self._long, name, returns, (*takes, _StatusPointer))
        code, unused = self._code, self._unused

        def call(*arguments: Any) -> Any:
            try:
                status = unused.pop()
            except IndexError:
                status = self._new_status()
            result = function(*arguments, status)
            number = code(status)
            if number:
                raise self._error(number, status)
            unused.append(status)
            return result

        return call

    def _error(self, number: int, status: _StatusPointer) -> TensorFlowError:
        text: bytes = self._message(status)
        self._delete_status(status)
        known = number in Code.__members__.values()
        return TensorFlowError(Code(number) if known else Code.UNKNOWN, text.decode("utf-8", "replace"))


def _declared(
    library: ctypes.CDLL, name: str, returns: type[Any] | None, takes: tuple[type[Any], ...]
) -> Callable[..., Any]:
    function = library[name]
    function.restype = returns
    function.argtypes = takes
    return function
