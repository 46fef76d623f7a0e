from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GraphOptions(_message.Message):
    __slots__ = ("place_pruned_graph",)
    PLACE_PRUNED_GRAPH_FIELD_NUMBER: _ClassVar[int]
    place_pruned_graph: bool
    def __init__(self, place_pruned_graph: bool = ...) -> None: ...

class ConfigProto(_message.Message):
    __slots__ = ("intra_op_parallelism_threads", "inter_op_parallelism_threads", "allow_soft_placement", "graph_options")
    INTRA_OP_PARALLELISM_THREADS_FIELD_NUMBER: _ClassVar[int]
    INTER_OP_PARALLELISM_THREADS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_SOFT_PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    GRAPH_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    intra_op_parallelism_threads: int
    inter_op_parallelism_threads: int
    allow_soft_placement: bool
    graph_options: GraphOptions
    def __init__(self, intra_op_parallelism_threads: _Optional[int] = ..., inter_op_parallelism_threads: _Optional[int] = ..., allow_soft_placement: bool = ..., graph_options: _Optional[_Union[GraphOptions, _Mapping]] = ...) -> None: ...

class RunOptions(_message.Message):
    __slots__ = ("timeout_in_ms", "inter_op_thread_pool")
    TIMEOUT_IN_MS_FIELD_NUMBER: _ClassVar[int]
    INTER_OP_THREAD_POOL_FIELD_NUMBER: _ClassVar[int]
    timeout_in_ms: int
    inter_op_thread_pool: int
    def __init__(self, timeout_in_ms: _Optional[int] = ..., inter_op_thread_pool: _Optional[int] = ...) -> None: ...
