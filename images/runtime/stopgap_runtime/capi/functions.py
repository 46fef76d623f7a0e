"""The functions of TensorFlow's C API that the runtime calls, as tensorflow/c/c_api.h and tf_tensor.h declare them."""

from __future__ import annotations

from ctypes import POINTER, Array, c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any, Callable, Final

from .binding import (
    Binder,
    Buffer,
    BufferPointer,
    GraphPointer,
    LibraryPointer,
    OperationPointer,
    Output,
    SessionOptionsPointer,
    SessionPointer,
    TensorPointer,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Functions"]

# Lets operations without a shape function into a graph, as TensorFlow's own Python client does. TensorFlow 2 has it in
# its C API; 1.x exports the C++ function of the same name.
_REQUIRE_SHAPE_FUNCTIONS: Final = (
    "TF_SetRequireShapeInferenceFns",
    "_ZN10tensorflow27SetRequireShapeInferenceFnsEP8TF_Graphb",
)


class Functions:
    """One TensorFlow library's functions, named as in C without the `TF_`.

    Args:
        library: The last of the core libraries; those that it needs are loaded already.

    Raises:
        OSError: The library cannot be loaded.
        AttributeError: It lacks a function that every TensorFlow has.
    """

    def __init__(self, library: Path) -> None:
        bind = Binder(library)
        self.version: Callable[[], bytes] = bind.short("TF_Version", c_char_p)
        self._bind_registry(bind)
        self._bind_graph(bind)
        self._bind_session(bind)
        self._bind_tensor(bind)

    def _bind_registry(self, bind: Binder) -> None:
        self.load_library: Callable[[bytes], LibraryPointer] = bind.checked("TF_LoadLibrary", LibraryPointer, c_char_p)
        self.get_op_list: Callable[[LibraryPointer], Buffer] = bind.long("TF_GetOpList", Buffer, LibraryPointer)
        self.get_all_op_list: Callable[[], Any] = bind.long("TF_GetAllOpList", BufferPointer)
        self.delete_buffer: Callable[[Any], None] = bind.short("TF_DeleteBuffer", None, BufferPointer)

    def _bind_graph(self, bind: Binder) -> None:
        self.new_graph: Callable[[], GraphPointer] = bind.short("TF_NewGraph", GraphPointer)
        self.delete_graph: Callable[[GraphPointer], None] = bind.long("TF_DeleteGraph", None, GraphPointer)
        self.graph_operation_by_name: Callable[[GraphPointer, bytes], OperationPointer] = bind.short(
            "TF_GraphOperationByName", OperationPointer, GraphPointer, c_char_p
        )
        self.operation_num_outputs: Callable[[OperationPointer], int] = bind.short(
            "TF_OperationNumOutputs", c_int, OperationPointer
        )
        self.operation_output_type: Callable[[Output], int] = bind.short("TF_OperationOutputType", c_int, Output)
        self.tensor_rank: Callable[[GraphPointer, Output], int] = bind.checked(
            "TF_GraphGetTensorNumDims", c_int, GraphPointer, Output
        )
        self.tensor_shape: Callable[[GraphPointer, Output, Array[c_int64], int], None] = bind.checked(
            "TF_GraphGetTensorShape", None, GraphPointer, Output, POINTER(c_int64), c_int
        )
        require = next(name for name in _REQUIRE_SHAPE_FUNCTIONS if bind.has(name))
        self.require_shape_functions: Callable[[GraphPointer, bool], None] = bind.short(
            require, None, GraphPointer, c_bool
        )

    def _bind_session(self, bind: Binder) -> None:
        self.new_session_options: Callable[[], SessionOptionsPointer] = bind.short(
            "TF_NewSessionOptions", SessionOptionsPointer
        )
        self.delete_session_options: Callable[[SessionOptionsPointer], None] = bind.short(
            "TF_DeleteSessionOptions", None, SessionOptionsPointer
        )
        self.set_config: Callable[[SessionOptionsPointer, bytes, int], None] = bind.checked(
            "TF_SetConfig", None, SessionOptionsPointer, c_char_p, c_size_t
        )
        self.load_session_from_saved_model: Callable[
            [SessionOptionsPointer, Buffer, bytes, Array[c_char_p], int, GraphPointer, None], SessionPointer
        ] = bind.checked(
            "TF_LoadSessionFromSavedModel",
            SessionPointer,
            SessionOptionsPointer,
            BufferPointer,  # run options
            c_char_p,
            POINTER(c_char_p),  # tags
            c_int,
            GraphPointer,
            BufferPointer,  # the MetaGraphDef, for who wants it
        )
        self.session_run: Callable[
            [
                SessionPointer,
                Buffer | None,
                Array[Output],
                Array[TensorPointer],
                int,
                Array[Output],
                Array[TensorPointer],
                int,
                None,
                int,
                None,
            ],
            None,
        ] = bind.checked(
            "TF_SessionRun",
            None,
            SessionPointer,
            BufferPointer,  # run options
            POINTER(Output),  # inputs
            POINTER(TensorPointer),
            c_int,
            POINTER(Output),  # outputs
            POINTER(TensorPointer),
            c_int,
            POINTER(OperationPointer),  # targets
            c_int,
            BufferPointer,  # run metadata, for who wants it
        )
        self.close_session: Callable[[SessionPointer], None] = bind.checked("TF_CloseSession", None, SessionPointer)
        self.delete_session: Callable[[SessionPointer], None] = bind.checked("TF_DeleteSession", None, SessionPointer)

    def _bind_tensor(self, bind: Binder) -> None:
        self.allocate_tensor: Callable[[int, Array[c_int64], int, int], TensorPointer] = bind.short(
            "TF_AllocateTensor", TensorPointer, c_int, POINTER(c_int64), c_int, c_size_t
        )
        self.delete_tensor: Callable[[TensorPointer], None] = bind.short("TF_DeleteTensor", None, TensorPointer)
        self.tensor_type: Callable[[TensorPointer], int] = bind.short("TF_TensorType", c_int, TensorPointer)
        self.num_dims: Callable[[TensorPointer], int] = bind.short("TF_NumDims", c_int, TensorPointer)
        self.dim: Callable[[TensorPointer, int], int] = bind.short("TF_Dim", c_int64, TensorPointer, c_int)
        self.tensor_byte_size: Callable[[TensorPointer], int] = bind.short("TF_TensorByteSize", c_size_t, TensorPointer)
        self.tensor_data: Callable[[TensorPointer], int | None] = bind.short("TF_TensorData", c_void_p, TensorPointer)
        if bind.has("TF_TensorFromProto"):  # TensorFlow 2
            self.tensor_from_proto: Callable[[Buffer, TensorPointer], None] = bind.checked(
                "TF_TensorFromProto", None, BufferPointer, TensorPointer
            )
