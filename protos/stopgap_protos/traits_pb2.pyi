from stopgap_protos import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelTraits(_message.Message):
    __slots__ = ("state_changing", "tensors_allowed", "example_inputs", "optional_inputs")
    STATE_CHANGING_FIELD_NUMBER: _ClassVar[int]
    TENSORS_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_INPUTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_INPUTS_FIELD_NUMBER: _ClassVar[int]
    state_changing: _containers.RepeatedScalarFieldContainer[str]
    tensors_allowed: bool
    example_inputs: _containers.RepeatedCompositeFieldContainer[ExampleInput]
    optional_inputs: _containers.RepeatedCompositeFieldContainer[OptionalInput]
    def __init__(self, state_changing: _Optional[_Iterable[str]] = ..., tensors_allowed: bool = ..., example_inputs: _Optional[_Iterable[_Union[ExampleInput, _Mapping]]] = ..., optional_inputs: _Optional[_Iterable[_Union[OptionalInput, _Mapping]]] = ...) -> None: ...

class OptionalInput(_message.Message):
    __slots__ = ("signature", "alias")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    signature: str
    alias: str
    def __init__(self, signature: _Optional[str] = ..., alias: _Optional[str] = ...) -> None: ...

class ExampleInput(_message.Message):
    __slots__ = ("signature", "alias", "features")
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: FeatureSpec
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[FeatureSpec, _Mapping]] = ...) -> None: ...
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    signature: str
    alias: str
    features: _containers.MessageMap[str, FeatureSpec]
    def __init__(self, signature: _Optional[str] = ..., alias: _Optional[str] = ..., features: _Optional[_Mapping[str, FeatureSpec]] = ...) -> None: ...

class FeatureSpec(_message.Message):
    __slots__ = ("dtype", "any_length", "shape", "required")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    ANY_LENGTH_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    dtype: _tensor_pb2.DataType
    any_length: bool
    shape: _tensor_pb2.TensorShapeProto
    required: bool
    def __init__(self, dtype: _Optional[_Union[_tensor_pb2.DataType, str]] = ..., any_length: bool = ..., shape: _Optional[_Union[_tensor_pb2.TensorShapeProto, _Mapping]] = ..., required: bool = ...) -> None: ...
