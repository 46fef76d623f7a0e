"""Tensors across the border: a request's bytes are copied into TensorFlow's memory once, an answer's out of it once."""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING

import numpy as np
from stopgap_protos.tensor_pb2 import DataType, TensorProto

from ..faults import Code, Fault
from ..host_tensor import ELEMENT, HostTensor, dtype_name, elements_in
from . import strings
from .binding import Buffer, TensorPointer

if TYPE_CHECKING:
    from .functions import Functions

__all__ = ["Transfer"]


class Transfer:
    """Copies tensors in and out of one TensorFlow.

    Args:
        strings_are_objects: The form of its string tensors; see `strings`.
    """

    def __init__(self, functions: Functions, *, strings_are_objects: bool) -> None:
        self._functions = functions
        self._strings_are_objects = strings_are_objects

    def enter(self, tensor: HostTensor) -> TensorPointer:
        """A copy that the caller must delete.

        Raises:
            Fault: The data does not fit the dtype and shape (INTERNAL: it should have been checked), or there is no
                memory for it (RESOURCE_EXHAUSTED).
        """
        if isinstance(tensor.data, list):
            _expect(len(tensor.data), elements_in(tensor.shape), tensor)
            if self._strings_are_objects:
                return self._enter_objects(tensor, tensor.data)
            return self._enter_bytes(tensor, strings.encode_table(tensor.data))
        element = ELEMENT.get(tensor.dtype)
        if element is None:
            raise Fault(Code.UNIMPLEMENTED, f"a {dtype_name(tensor.dtype)} cannot be handed to TensorFlow")
        # TensorFlow trusts its caller here: a wrong length is an abort of the process.
        _expect(tensor.nbytes, elements_in(tensor.shape) * element.itemsize, tensor)
        return self._enter_bytes(tensor, tensor.data)

    def leave(self, pointer: TensorPointer, dtype: int) -> HostTensor:
        """A copy of TensorFlow's tensor, which stays its caller's to delete.

        Raises:
            Fault: Nothing outside of TensorFlow can hold this dtype (UNIMPLEMENTED).
        """
        c = self._functions
        shape = tuple([c.dim(pointer, axis) for axis in range(c.num_dims(pointer))])
        if dtype in ELEMENT:
            return HostTensor(dtype, shape, self._content(pointer))
        if dtype != DataType.DT_STRING:
            raise Fault(Code.UNIMPLEMENTED, f"the answer holds a {dtype_name(dtype)}, which cannot leave TensorFlow")
        count = elements_in(shape)
        if count == 0:
            return HostTensor(dtype, shape, [])
        if not self._strings_are_objects:
            return HostTensor(dtype, shape, strings.decode_table(self._content(pointer), count))
        address = c.tensor_data(pointer)
        return HostTensor(dtype, shape, strings.decode_objects(address, count) if address else [b""] * count)

    def _content(self, pointer: TensorPointer) -> bytes:
        size = self._functions.tensor_byte_size(pointer)
        address = self._functions.tensor_data(pointer)
        return ctypes.string_at(address, size) if size and address else b""

    def _enter_bytes(self, tensor: HostTensor, content: bytes | memoryview) -> TensorPointer:
        size = len(content)
        pointer = self._allocate(tensor, size)
        if size:
            address = self._functions.tensor_data(pointer)
            if not address:
                self._functions.delete_tensor(pointer)
                raise Fault(Code.RESOURCE_EXHAUSTED, f"no memory for a tensor of {size} bytes")
            ctypes.memmove(address, content if isinstance(content, bytes) else _address_of(content), size)
        return pointer

    def _enter_objects(self, tensor: HostTensor, texts: list[bytes]) -> TensorPointer:
        """Lets TensorFlow itself make the string objects.

        It frees them when the last kernel lets go of them, which a queue or a table may do long after the run: neither
        freeing them after the run nor lending them our memory would be right.
        """
        proto = TensorProto(dtype=DataType.DT_STRING, string_val=texts)
        proto.tensor_shape.SetInParent()
        for size in tensor.shape:
            proto.tensor_shape.dim.add(size=size)
        pointer = self._allocate(HostTensor(DataType.DT_FLOAT, (0,), b""), 0)
        try:
            self._functions.tensor_from_proto(Buffer.lending(proto.SerializeToString()), pointer)
        except Fault:
            self._functions.delete_tensor(pointer)
            raise
        return pointer

    def _allocate(self, tensor: HostTensor, size: int) -> TensorPointer:
        dimensions = _dimensions(len(tensor.shape))(*tensor.shape)
        pointer = self._functions.allocate_tensor(tensor.dtype, dimensions, len(dimensions), size)
        if not pointer:
            raise Fault(Code.RESOURCE_EXHAUSTED, f"no memory for a tensor of {size} bytes")
        return pointer


@functools.cache
def _dimensions(rank: int) -> type[ctypes.Array[ctypes.c_int64]]:
    """The C type int64_t[rank]: making one costs more than filling it."""
    return ctypes.c_int64 * rank


def _expect(there: int, due: int, tensor: HostTensor) -> None:
    if there != due:
        raise Fault(
            Code.INTERNAL, f"a {dtype_name(tensor.dtype)} tensor of shape {tensor.shape} needs {due}, got {there}"
        )


def _address_of(content: memoryview) -> int:
    address: int = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    return address
