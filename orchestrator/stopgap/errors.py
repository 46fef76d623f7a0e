"""Every error that stopgap raises on purpose, in one tree; each says what is wrong and what to do about it.

StopgapError
├── ModelError        what lies on disk cannot be served: path, tags, ops, permissions
├── BundleError       a TensorFlow library could not be fetched, verified or loaded
├── ImageError        a container image could not be built
├── EngineError       the engine is down, refuses us, or refused what was asked of it
├── DeploymentError   a name that is taken, unknown or invalid; a date that has passed
├── SandboxError      the runtime died or did not come up; carries its last log lines
├── FrontError        the front could not be started, configured or reached
└── PredictionError   a request was refused or failed; carries gRPC's status code
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "DeploymentError",
    "EngineError",
    "FrontError",
    "ImageError",
    "ModelError",
    "PredictionError",
    "SandboxError",
    "StopgapError",
]


class StopgapError(Exception):
    """Something went wrong that a person can act on.

    Args:
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
    """What lies on disk cannot be served."""


class BundleError(StopgapError):
    """A TensorFlow library could not be fetched, verified or loaded."""


class ImageError(StopgapError):
    """A container image could not be built."""


class EngineError(StopgapError):
    """The engine is down, refuses us, or refused what was asked of it."""


class DeploymentError(StopgapError):
    """A deployment's name or settings cannot be used."""


class SandboxError(StopgapError):
    """The runtime in a sandbox died or did not come up in time.

    Args:
        log_tail: The sandbox's last log lines. They come from untrusted code: print them escaped.
    """

    def __init__(self, problem: str, remedy: str = "", log_tail: tuple[str, ...] = ()) -> None:
        super().__init__(problem, remedy)
        self.log_tail = log_tail


class FrontError(StopgapError):
    """The front could not be started, configured or reached."""


class PredictionError(StopgapError):
    """A request was refused or failed.

    Args:
        code: gRPC's status code, one of the 17 numbers that TensorFlow shares (3 is INVALID_ARGUMENT).
    """

    def __init__(self, problem: str, code: int, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.code = code
