"""Whether a model answers at an address: asked over gRPC through the front, as every client will ask."""

from __future__ import annotations

from stopgap.errors import PredictionError

__all__ = ["model_answers"]


def model_answers(address: str, name: str, timeout_s: float, version: int | None = None) -> bool:
    """Whether a version of the model is AVAILABLE; False whatever the reason.

    Args:
        version: None for whichever answers to the name: where that is taken over, this may be another model's.
    """
    # Most commands only look from outside, and need not wait for gRPC and NumPy.
    from stopgap_protos.serving_pb2 import ModelVersionStatus  # noqa: PLC0415

    from stopgap.client.channel import ServingChannel  # noqa: PLC0415
    from stopgap.client.requests import status_request  # noqa: PLC0415

    with ServingChannel(address) as channel:
        try:
            answer = channel.status(status_request(name, version), timeout_s)
        except PredictionError:
            return False
    return any(version.state == ModelVersionStatus.AVAILABLE for version in answer.model_version_status)
