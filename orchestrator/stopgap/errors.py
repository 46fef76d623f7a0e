"""Every error that stopgap raises on purpose, in one tree; each says what is wrong and what to do about it.

StopgapError
├── ModelError        what lies on disk cannot be served: path, tags, ops, permissions
├── BundleError       a TensorFlow library could not be fetched, verified or loaded
├── ImageError        a container image could not be built
├── EngineError       the engine is down, refuses us, or refused what was asked of it
├── DeploymentError   a name that is taken, unknown or invalid; a date that has passed
├── SandboxError      the runtime died or did not come up; carries its last log lines
├── FrontError        the front could not be started, configured or reached
├── JournalError      recorded traffic that cannot be written, read or asked again
├── PredictionError   a request was refused or failed; carries gRPC's status code
├── ShadowError       a shadow that cannot be begun, or whose observer does not get anywhere
├── RecordingError    a recording that cannot be begun, or whose recorder does not get anywhere
├── LedgerError       a split's ledger that cannot be kept, or read
├── DataError         what two models are to be asked with cannot be read, or is not theirs
├── ComparisonError   a plan of a comparison, or a map between two models, that cannot be
└── VerdictError      a margin that cannot be, or units that no verdict can be made of
"""

from __future__ import annotations

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
    "ModelError",
    "PredictionError",
    "RecordingError",
    "SandboxError",
    "ShadowError",
    "StopgapError",
    "VerdictError",
]


class StopgapError(Exception):
    """Something went wrong that a person can act on.

    Attributes:
        problem: What is wrong, in one sentence, naming the thing it is about.
        remedy: What to do about it, where there is something: often a command to type.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}" if self.remedy else self.problem


class ModelError(StopgapError):
    """What lies on disk cannot be served: no SavedModel, no such tags, an unknown operation, no permission."""


class BundleError(StopgapError):
    """A TensorFlow library could not be fetched, verified or loaded, or there is none for this processor."""


class ImageError(StopgapError):
    """A container image, or without Docker a root folder, could not be built or has been altered."""


class EngineError(StopgapError):
    """Docker, Podman or bubblewrap is not there, refuses us, or refused what was asked of it."""


class DeploymentError(StopgapError):
    """A name that is taken, unknown or invalid, a setting that cannot be, or a date that has passed."""


class SandboxError(StopgapError):
    """The runtime in a sandbox died or did not come up in time.

    Attributes:
        log_tail: The sandbox's last log lines. They come from untrusted code: print them escaped.
    """

    def __init__(self, problem: str, remedy: str = "", log_tail: tuple[str, ...] = ()) -> None:
        super().__init__(problem, remedy)
        self.log_tail = log_tail


class FrontError(StopgapError):
    """The front could not be started, configured or reached: a port that is in use, mostly."""


class JournalError(StopgapError):
    """Recorded traffic that cannot be written, read or asked again: a damaged file, a full disk, an unknown input."""


class PredictionError(StopgapError):
    """A request was refused or failed.

    Attributes:
        code: gRPC's status code, one of the 17 numbers that TensorFlow shares (3 is INVALID_ARGUMENT).
    """

    def __init__(self, problem: str, code: int, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.code = code


class ShadowError(StopgapError):
    """A shadow that cannot be begun, a candidate that cannot be asked, or an observer that does not get anywhere."""


class RecordingError(StopgapError):
    """A recording that cannot be begun, or a recorder that does not get anywhere."""


class LedgerError(StopgapError):
    """A split's ledger that cannot be kept or read: a full disk, a port in use, a process that does not come."""


class DataError(StopgapError):
    """What two models are to be asked with cannot be read, does not fit the model, or is not what was asked before."""


class ComparisonError(StopgapError):
    """A plan of a comparison, or a map from a legacy model's names to its successor's, that cannot be."""


class VerdictError(StopgapError):
    """A margin, a range or a probability that cannot be, or units that no verdict can be made of."""
