"""One comparison as somebody wants it: both sides and the data opened, and the answers of last time at hand."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from stopgap.api.opening import Source
from stopgap.asking.answers_file import AnswersFile, answers_kept
from stopgap.asking.asking import AS_IT_IS, Manner, Translation, asked, belongs_to
from stopgap.asking.candidates import candidates_tried
from stopgap.asking.choosing import CANDIDATE, LEGACY, open_side
from stopgap.asking.data.opening import open_data
from stopgap.asking.data.reading import Data, Reading
from stopgap.asking.noise import noise_pairs
from stopgap.asking.noise_file import kept_noise
from stopgap.asking.remembered import Known, Remembered, read_remembered, remembered_side, write_remembered
from stopgap.asking.sides import Identity, Side, check_outputs
from stopgap.client.signatures import choose
from stopgap.comparison.closeness import Floor
from stopgap.comparison.pairs import Pair
from stopgap.comparison.plan import Plan
from stopgap.errors import DataError
from stopgap.progress import Progress, silent
from stopgap.store import Store

__all__ = ["Meeting", "Wanted", "meeting", "opened_sides"]

FOLDER = "comparisons"
NAME_LENGTH = 24  # of hexadecimal


@dataclass(frozen=True)
class Wanted:
    """What is to be compared, over what, and how.

    Attributes:
        legacy: What is named as the legacy model; an empty bundle means the one for its kind.
        candidate: Likewise.
        data: The file to ask with.
        format_: What it is, one of `data.opening.FORMATS`; empty: as it begins.
        reading: How it is read; the signatures come from the sides.
        manner: How the sides are asked.
        restart: Whether what was answered before is forgotten.
    """

    legacy: Source
    candidate: Source
    data: Path
    format_: str = ""
    reading: Reading = field(default_factory=Reading)
    manner: Manner = field(default_factory=Manner)
    restart: bool = False


@dataclass(frozen=True)
class Meeting:
    """Both sides, open, and the data.

    Attributes:
        legacy: What the legacy side is, as it was when this began.
        candidate: Likewise.
        answered: How many cases were answered before.
        is_answered: Whether those are all.
        begun_anew: What has changed since last time, for which the answers of then were forgotten.
        candidates: How many were tried on these data, this one included: alpha is divided by it.
    """

    wanted: Wanted
    data: Data
    legacy: Identity
    candidate: Identity
    answered: int
    is_answered: bool
    begun_anew: tuple[str, ...]
    candidates: int
    _sides: tuple[Side, Side]
    _answers: AnswersFile
    _translation: Translation
    _noise_file: Path
    _sides_file: Path

    def pairs(self, progress: Progress = silent) -> Iterator[Pair]:
        """All pairs from the first on; see `asked`, which may be broken off at any of them."""
        count = 0
        for pair in asked(
            self.data,
            *self._sides,
            self._answers,
            self.wanted.manner,
            translation=self._translation,
            progress=progress,
        ):
            count += 1
            yield pair
        is_all = self.wanted.manner.most is None or count < self.wanted.manner.most
        sides = [Known(side.identity(), side.signatures()) for side in self._sides]
        write_remembered(self._sides_file, Remembered(sides[0], sides[1], count, is_all))

    def check(self, plan: Plan) -> None:
        """
        Raises:
            ComparisonError: The plan judges what the legacy model does not answer.
        """
        check_outputs(plan, self._sides[0])

    def given(self, numbers: Collection[int]) -> Iterator[Pair]:
        """The pairs of these cases once more, as they were given; nobody is asked."""
        last = max(numbers, default=-1)
        kept = zip(islice(self.data.cases(), last + 1), self._answers.kept())
        return (Pair(case, *answers) for case, answers in kept if case.number in numbers)

    def noise(self, most_rows: int = 256, progress: Progress = silent) -> Floor:
        """How far the legacy model is from itself, over the data's first rows; asked once, see `noise_pairs`."""
        belongs_to = {
            name: self._answers.belongs_to[name] for name in ("the legacy model", "the data", "how the data are read")
        }
        return kept_noise(
            self._noise_file,
            {**belongs_to, "the rows": str(most_rows)},
            lambda: noise_pairs(
                self.data,
                self._sides[0],
                most_rows=most_rows,
                timeout_s=self.wanted.manner.timeout_s,
                progress=progress,
            ),
            restart=self.wanted.restart,
        )


@contextmanager
def opened_sides(
    wanted: Wanted, *, show_progress: bool | None = None, progress: Progress = silent
) -> Iterator[tuple[Side, Side, Data]]:
    """Both sides and the data alone, for whoever keeps no answers; arguments and errors as for `meeting`."""
    store = Store.default()
    with ExitStack() as opened:
        legacy = open_side(wanted.legacy, store, LEGACY, show_progress, progress)
        opened.callback(legacy.close)
        candidate = open_side(wanted.candidate, store, CANDIDATE, show_progress, progress)
        opened.callback(candidate.close)
        yield legacy, candidate, data_for(wanted, legacy, candidate, progress)


@contextmanager
def meeting(
    wanted: Wanted,
    translation: Translation = AS_IT_IS,
    *,
    show_progress: bool | None = None,
    progress: Progress = silent,
) -> Iterator[Meeting]:
    """Opens all of it, and closes it again: sandboxes that were started for this end with it.

    Where all was answered before, and nothing has changed since, no sandbox is started.

    Args:
        wanted: What is compared.
        translation: From the legacy model's words to the candidate's.
        show_progress: As for `load`, while sandboxes start.
        progress: Told while files are read.

    Raises:
        StopgapError: Of the kind of what is wrong.
    """
    store = Store.default()
    folder = store.folder / FOLDER
    make_private(store.folder, folder)
    with ExitStack() as opened:
        known = None if wanted.restart else finished_before(wanted, translation, store, folder, progress)
        sides = known or opened.enter_context(opened_sides(wanted, show_progress=show_progress, progress=progress))
        for side in known[:2] if known else ():
            opened.callback(side.close)
        yield opened.enter_context(met(wanted, translation, folder, sides, is_answered=known is not None))


@contextmanager
def met(
    wanted: Wanted, translation: Translation, folder: Path, sides: tuple[Side, Side, Data], *, is_answered: bool
) -> Iterator[Meeting]:
    legacy, candidate, data = sides
    belonging = belongs_to(data, legacy, candidate, wanted.manner, translation)
    with AnswersFile(folder / file_name(wanted), belonging, restart=wanted.restart) as answers:
        last = candidate.identity()
        yield Meeting(
            wanted,
            data,
            legacy.identity(),
            last,
            answers.count,
            is_answered,
            answers.begun_anew,
            candidates_tried(folder, data.digest, last.digest or last.state),
            (legacy, candidate),
            answers,
            translation,
            folder / f"{file_name(wanted)}.noise",
            folder / f"{file_name(wanted)}.sides",
        )


def finished_before(
    wanted: Wanted, translation: Translation, store: Store, folder: Path, progress: Progress
) -> tuple[Side, Side, Data] | None:
    """Sides that are not started, where all that is wanted was answered before; None where something is to be asked."""
    remembered = read_remembered(folder / f"{file_name(wanted)}.sides")
    if remembered is None:
        return None
    legacy = remembered_side(remembered.legacy, wanted.legacy, store, LEGACY, progress)
    candidate = legacy and remembered_side(remembered.candidate, wanted.candidate, store, CANDIDATE, progress)
    if legacy is None or candidate is None:
        if legacy is not None:
            legacy.close()
        return None
    data = data_for(wanted, legacy, candidate, progress)
    belonging = belongs_to(data, legacy, candidate, wanted.manner, translation)
    answered = answers_kept(folder / file_name(wanted), belonging)
    if remembered.leaves_nothing(answered, wanted.manner.most):
        return legacy, candidate, data
    legacy.close()
    candidate.close()
    return None


def data_for(wanted: Wanted, legacy: Side, candidate: Side, progress: Progress) -> Data:
    return open_data(wanted.data, reading_of(wanted.reading, legacy, candidate), wanted.format_, progress)


def reading_of(reading: Reading, legacy: Side, candidate: Side) -> Reading:
    """By the legacy model's signatures, or where it is recorded by the candidate's. What is an input is no extra.

    Raises:
        PredictionError: The signature that is named is not there.
    """
    signatures = legacy.signatures() or candidate.signatures()
    if not signatures:
        return reading
    chosen = choose(signatures, reading.signature)
    return replace(reading, signatures=signatures, extras=reading.extras - chosen.inputs.keys())


def file_name(wanted: Wanted) -> str:
    """By what was typed, not by what it was then: so that it can be told when that has changed."""
    typed = [wanted.legacy.target, wanted.candidate.target, os.fspath(wanted.data.absolute())]
    return f"{hashlib.sha256(json.dumps(typed).encode()).hexdigest()[:NAME_LENGTH]}.answers"


def make_private(state: Path, folder: Path) -> None:
    """
    Raises:
        DataError: The state folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        state.chmod(0o700)
    except OSError as error:
        raise DataError(
            f"The state folder {state} cannot be used: {error.strerror}.", "Choose another with STOPGAP_STATE."
        ) from error
