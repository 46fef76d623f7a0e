"""stopgap keeps a TensorFlow 1.x model that depends on `tf.contrib` alive, contained and measured.

model = stopgap.load("./model")  # in place of tf.saved_model.load
model.signatures["serving_default"](image=batch)["probs"]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stopgap.api.functions import SignatureFunction
    from stopgap.api.load import load
    from stopgap.api.model import LoadedModel
    from stopgap.api.predictor import Predictor, predictor
    from stopgap.api.pruned import PrunedFunction
    from stopgap.api.sunset_notice import SunsetWarning
    from stopgap.api.values import SparseValue
    from stopgap.errors import (
        BundleError,
        ComparisonError,
        DataError,
        DeploymentError,
        EngineError,
        FrontError,
        ImageError,
        JournalError,
        LedgerError,
        ModelError,
        PredictionError,
        RecordingError,
        SandboxError,
        ShadowError,
        StopgapError,
        VerdictError,
    )

__all__ = [
    "BundleError",
    "ComparisonError",
    "DataError",
    "DeploymentError",
    "EngineError",
    "FrontError",
    "ImageError",
    "JournalError",
    "LedgerError",
    "LoadedModel",
    "ModelError",
    "PredictionError",
    "Predictor",
    "PrunedFunction",
    "RecordingError",
    "SandboxError",
    "ShadowError",
    "SignatureFunction",
    "SparseValue",
    "StopgapError",
    "SunsetWarning",
    "VerdictError",
    "load",
    "predictor",
]

# Where each name is, imported when it is asked for: the command line needs none of what loads models.
_ELSEWHERE = {
    "LoadedModel": "stopgap.api.model",
    "Predictor": "stopgap.api.predictor",
    "PrunedFunction": "stopgap.api.pruned",
    "SignatureFunction": "stopgap.api.functions",
    "SparseValue": "stopgap.api.values",
    "SunsetWarning": "stopgap.api.sunset_notice",
    "load": "stopgap.api.load",
    "predictor": "stopgap.api.predictor",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "stopgap.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
