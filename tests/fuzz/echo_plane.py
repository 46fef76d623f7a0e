"""A data plane whose model gives its inputs back: what is fuzzed ends where TensorFlow would begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import cast

from stopgap_protos.tensor_pb2 import DataType
from stopgap_protos.traits_pb2 import ModelTraits
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.front_desk import FrontDesk
from stopgap_runtime.given_signatures import signature_def
from stopgap_runtime.grpc_api import GrpcApi
from stopgap_runtime.host_tensor import ELEMENT, HostTensor
from stopgap_runtime.predict import DataPlane
from stopgap_runtime.rest_api import RestApi
from stopgap_runtime.servable import Servable
from stopgap_runtime.signatures import Signature, TensorSpec

__all__ = ["LARGEST_BYTES", "NAME", "front_desk", "grpc_api", "rest_api"]

NAME = "m"
LARGEST_BYTES = 1 << 20


def _signature(key: str, **inputs: tuple[int, tuple[int | None, ...] | None]) -> Signature:
    specs = {
        alias: TensorSpec(alias, f"{alias}:0", dtype, shape, optional=alias == "rate")
        for alias, (dtype, shape) in inputs.items()
    }
    given_back = {alias: spec for alias, spec in specs.items() if not spec.optional}  # a scalar, which no row has
    return Signature(key, "tensorflow/serving/predict", specs, given_back)


_OF_SEVERAL = _signature(
    "serving_default",
    n=(DataType.DT_INT64, (None,)),
    rate=(DataType.DT_INT64, ()),
    s=(DataType.DT_STRING, (None,)),
    x=(DataType.DT_FLOAT, (None, 2)),
)


class _Echo:
    """What a data plane asks of a servable."""

    def __init__(self) -> None:
        of_one = [_signature(DataType.Name(dtype), x=(dtype, None)) for dtype in (*ELEMENT, DataType.DT_STRING)]
        self.signatures = {one.key: one for one in (_OF_SEVERAL, *of_one)}
        self.signature_defs = {key: signature_def(signature) for key, signature in self.signatures.items()}
        self.traits = ModelTraits()

    def tensor(self, name: str) -> TensorSpec:
        raise Fault(Code.PERMISSION_DENIED, name)

    def signature_of_tensors(self, inputs: tuple[str, ...], _outputs: tuple[str, ...]) -> Signature:
        raise Fault(Code.PERMISSION_DENIED, ", ".join(inputs))

    def runs_inline(self, _signature: Signature, _inputs: Mapping[str, HostTensor]) -> bool:
        return False

    def run(
        self,
        _signature: Signature,
        inputs: Mapping[str, HostTensor],
        outputs: Sequence[str],
        _timeout_s: float | None,
        *,
        inline: bool,
    ) -> dict[str, HostTensor]:
        del inline
        return {alias: inputs[alias] for alias in outputs}


_PLANE = DataPlane(
    NAME,
    3,
    cast("Servable", _Echo()),
    run_timeout_s=10,
    largest_bytes=LARGEST_BYTES,
    overdue_after=lambda _deadline: nullcontext(),
)
grpc_api = GrpcApi(_PLANE)
rest_api = RestApi(_PLANE, LARGEST_BYTES)
front_desk = FrontDesk(grpc_api, rest_api)
