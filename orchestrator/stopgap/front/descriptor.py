"""TF Serving's services as Envoy's field extraction must see them: our messages under the wire's own package."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from stopgap_protos import serving_pb2

__all__ = ["descriptor_set", "methods"]

_OURS = "stopgap.wire"
_THEIRS = "tensorflow.serving"


def descriptor_set() -> bytes:
    """A serialised FileDescriptorSet of `tensorflow.serving`, imports first, without source info."""
    files = _with_imports(serving_pb2.DESCRIPTOR)
    return FileDescriptorSet(file=[_renamed(file) for file in files]).SerializeToString(deterministic=True)


def methods() -> tuple[str, ...]:
    """Every method as its HTTP path: `/tensorflow.serving.PredictionService/Predict` and so on."""
    services = serving_pb2.DESCRIPTOR.services_by_name.values()
    return tuple(f"/{_THEIRS}.{service.name}/{method.name}" for service in services for method in service.methods)


def _with_imports(file: FileDescriptor) -> list[FileDescriptor]:
    ordered: dict[str, FileDescriptor] = {}

    def visit(one: FileDescriptor) -> None:
        for imported in one.dependencies:
            visit(imported)
        ordered.setdefault(one.name, one)

    visit(file)
    return list(ordered.values())


def _renamed(file: FileDescriptor) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    if proto.package == _OURS:
        proto.package = _THEIRS
    for message in proto.message_type:
        for field in _fields(message):
            field.type_name = _on_the_wire(field.type_name)
    for service in proto.service:
        for method in service.method:
            method.input_type = _on_the_wire(method.input_type)
            method.output_type = _on_the_wire(method.output_type)
    return proto


def _fields(message: DescriptorProto) -> Iterator[FieldDescriptorProto]:
    """The fields that name a type, in this message and in those declared inside it."""
    yield from (field for field in message.field if field.type_name)
    for nested in message.nested_type:
        yield from _fields(nested)


def _on_the_wire(type_name: str) -> str:
    prefix = f".{_OURS}."
    return f".{_THEIRS}.{type_name[len(prefix) :]}" if type_name.startswith(prefix) else type_name
