"""What a served model says of itself, the same for every face: its status, its signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stopgap_protos import serving_pb2 as pb

from .faults import Code, Fault

if TYPE_CHECKING:
    from stopgap_protos.traits_pb2 import ModelTraits

    from .predict import DataPlane

__all__ = ["signatures_of", "status_of", "traits_of"]


def status_of(data_plane: DataPlane, spec: pb.ModelSpec) -> pb.GetModelStatusResponse:
    """Whether the model that `spec` names is served: it is, if it is ours, since a worker serves after it has loaded.

    Raises:
        Fault: It is not ours (NOT_FOUND, in TF Serving's words).
    """
    if not data_plane.is_called(spec.name):
        raise Fault(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
    if spec.HasField("version") and spec.version.value != data_plane.version:
        raise Fault(Code.NOT_FOUND, f"Could not find version {spec.version.value} of model {spec.name}")
    response = pb.GetModelStatusResponse()
    response.model_version_status.add(
        version=data_plane.version,
        state=pb.ModelVersionStatus.AVAILABLE,
        status=pb.StatusProto(error_code=Code.OK),
    )
    return response


def signatures_of(data_plane: DataPlane, spec: pb.ModelSpec) -> pb.SignatureDefMap:
    """All signatures of the model that `spec` names.

    Raises:
        Fault: As `DataPlane.check_spec`.
    """
    data_plane.check_spec(spec)
    return pb.SignatureDefMap(signature_def=data_plane.signature_defs)


def traits_of(data_plane: DataPlane, spec: pb.ModelSpec) -> ModelTraits:
    """What the model that `spec` names says of itself beyond TF Serving's contract.

    Raises:
        Fault: As `DataPlane.check_spec`.
    """
    data_plane.check_spec(spec)
    return data_plane.traits
