"""Operations that need what no sandbox has, so that a request for them is told at once and not by a dead worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Set

__all__ = ["out_of_reach"]

# tensorflow/contrib/ffmpeg: these write a temporary file, which aborts the process where it cannot be written, and
# run a program. (Encoding to WAV does neither.)
_RUN_FFMPEG: Final = frozenset({"DecodeAudio", "DecodeAudioV2", "DecodeVideo"})


def out_of_reach(used: Set[str]) -> str:
    """Why operations of these types cannot work in a sandbox; empty when they can."""
    if not (asking := sorted(_RUN_FFMPEG & used)):
        return ""
    return (
        f"FFmpeg must be installed to run this op ({', '.join(asking)}), and a sandbox runs no other program: "
        "decode outside of the model and feed it what comes out."
    )
