"""Operations that need what no sandbox has, so that a request for them is told at once and not by a dead worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .faults import Code, Fault

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["check_within_reach"]

# tensorflow/contrib/ffmpeg: these write a temporary file, which aborts the process where it cannot be written, and
# run a program. (Encoding to WAV does neither.)
_RUN_FFMPEG: Final = frozenset({"DecodeAudio", "DecodeAudioV2", "DecodeVideo"})


def check_within_reach(used: Collection[str]) -> None:
    """Refuses operation types that cannot work in a sandbox.

    Raises:
        Fault: UNAVAILABLE, as TensorFlow says it where the program is missing.
    """
    for op in sorted(_RUN_FFMPEG & set(used)):
        raise Fault(
            Code.UNAVAILABLE,
            f"FFmpeg must be installed to run this op ({op}), and a sandbox runs no other programs: "
            "decode outside and serve the rest of the graph.",
        )
