"""A TF Serving client that needs no TensorFlow: tensors, requests, signatures and a channel to send them through."""

import os


def _import_grpc_for_forks() -> None:
    """With what gRPC reads at its import, and without which a forked process may hang in its first call."""
    before = os.environ.get("GRPC_ENABLE_FORK_SUPPORT")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")
    import grpc  # noqa: F401, PLC0415

    if before is None:
        del os.environ["GRPC_ENABLE_FORK_SUPPORT"]


_import_grpc_for_forks()
