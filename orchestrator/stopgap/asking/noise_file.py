"""The noise floor, kept: whoever judges the same answers again by other margins asks nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from stopgap.asking.answers_file import AnswersFile
from stopgap.comparison.closeness import Floor, noise_floor
from stopgap.comparison.pairs import Answer, Case, Failure, Pair

__all__ = ["kept_noise"]

END = Answer(failure=Failure("OK", "that was all"))  # OK is no code of a failure


def kept_noise(
    path: Path, belongs_to: Mapping[str, str], ask: Callable[[], Iterator[Pair]], *, restart: bool = False
) -> Floor:
    """The floor from what is in the file, or from what is asked, which then is in it.

    Args:
        path: An `AnswersFile`, whose last answers say that it is whole.
        belongs_to: What the noise is of.
        ask: Gives the pairs.
        restart: Ask in any case.
    """
    with AnswersFile(path, belongs_to, restart=restart) as kept:
        pairs = [Pair(Case(number, {}), *answers) for number, answers in enumerate(kept.kept())]
    if pairs and pairs[-1].legacy == END:
        return noise_floor(pairs[:-1])
    with AnswersFile(path, belongs_to, restart=True) as anew:
        floor = noise_floor(kept_in(anew, ask()))
        anew.append(END, END)
    return floor


def kept_in(file: AnswersFile, pairs: Iterator[Pair]) -> Iterator[Pair]:
    for pair in pairs:
        file.append(pair.legacy, pair.candidate)
        yield pair
