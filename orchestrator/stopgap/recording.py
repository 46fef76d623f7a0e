"""Beginning a recording and ending it; where a step fails, or is killed, nothing stays behind but what was recorded.

A recording that was ended for another one goes on where that one cannot be, unless somebody kills this.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stopgap import observing
from stopgap.engines.choice import Engines
from stopgap.errors import RecordingError
from stopgap.journal.segments import Folder
from stopgap.observers import new_token
from stopgap.observing import Means
from stopgap.progress import Progress
from stopgap.recordings import RECORDINGS, Recording
from stopgap.store import Store
from stopgap.undo import Undo

__all__ = ["begin", "end", "recover_recordings"]

Say = Callable[[str], None]

WAY_OUT = "Such a model cannot be recorded: the recorder asks it once more, to know what it answers and how fast."


def begin(wanted: Recording, engines: Engines, store: Store, say: Say, progress: Progress) -> Recording:
    """Returns once a sample is mirrored to a recorder.

    Args:
        wanted: Its token, when it was begun, and whether it is ready are this function's to say.

    Raises:
        StopgapError: Of the kind of what went wrong.
    """
    model = store.deployment(wanted.name)
    means = Means(engines, store, say, progress)
    observing.check_may_be_asked(model, RECORDINGS, WAY_OUT)
    check_place(wanted.folder)
    away = taking_away(engines, store)
    with store.locked_observer(RECORDINGS.word, wanted.name):
        observing.take_away_unready(RECORDINGS, wanted.name, away, store)
        before = RECORDINGS.find(wanted.name, store)
        if before is not None and differs_in_sample_alone(before, wanted):
            return observing.resampled(RECORDINGS, before, wanted.per_million, model, means)
        with Undo() as undo:
            if before is not None:
                say(f"the recording of {wanted.name} into {before.out} ends")
                undo.put("going on recording", lambda: observing.put_back(RECORDINGS, before, model, means))
                away(before)
            undo.put(
                "taking the recording away", lambda: observing.take_away_unready(RECORDINGS, wanted.name, away, store)
            )
            fresh = replace(wanted, token=new_token(), begun_s=int(time.time()), ready=False)
            RECORDINGS.put(fresh, store)
            return observing.started(RECORDINGS, fresh, model, means)


def end(name: str, engines: Engines, store: Store) -> bool:
    """Stops mirroring, and ends the recorder; False where there is no recording. What was recorded stays."""
    return observing.ended(RECORDINGS, name, taking_away(engines, store), store)


def recover_recordings(engines: Engines, store: Store, say: Say) -> None:
    """See `observing.recover`."""
    observing.recover(RECORDINGS, taking_away(engines, store), store, say)


def taking_away(engines: Engines, store: Store) -> Callable[[Recording], None]:
    return lambda recording: observing.taken_away(RECORDINGS, recording, engines, store)


def check_place(folder: Path) -> None:
    """A journal's folder is its owner's alone: no other is made so.

    Raises:
        RecordingError: Something else is there.
    """
    if not folder.exists() or Folder(folder).is_one():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise RecordingError(
            f"{folder} has something else in it than a recording.", "Name a new folder, or an empty one: --out FOLDER"
        )


def differs_in_sample_alone(before: Recording, wanted: Recording) -> bool:
    def rest(each: Recording) -> Recording:
        return replace(each, per_million=0, token="", begun_s=0, ready=False)

    return rest(before) == rest(wanted)
