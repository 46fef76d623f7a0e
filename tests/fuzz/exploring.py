"""One target under libFuzzer, for `python -m tests.fuzz run`: `python -m tests.fuzz.exploring TARGET SECONDS`."""

from __future__ import annotations

import sys
import tracemalloc
from random import Random

import atheris

# Before they are imported: what is looked into for coverage. text_format reads a model's .pbtxt.
with atheris.instrument_imports(
    include=["stopgap", "stopgap_runtime", "stopgap_protos", "google.protobuf.text_format"]
):
    from tests.fuzz.mutation import LONGEST, mutated
    from tests.fuzz.target import Target, held_memory
    from tests.fuzz.targets import BUILD, TARGETS, found_inputs

_TIMEOUT_S = 20  # for one input: none may take unbounded time
_MEMORY_MIB = 2048


def explore(target: Target, seconds: int) -> None:
    """Ends the process, as libFuzzer does: with another code than 0 if something broke."""
    folder = BUILD / target.name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for place, seed in enumerate(target.seeds):
        (corpus / f"seed-{place}").write_bytes(seed)
    for file in found_inputs(target):
        (corpus / file.name).write_bytes(file.read_bytes())
    flags = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-timeout={_TIMEOUT_S}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-artifact_prefix={folder}/found-",
    ]
    tracemalloc.start()

    def one_input(data: bytes) -> None:
        with held_memory(target, data):
            target.check(data)

    def changed(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)  # noqa: S311 - to be drawn again, and no secret
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return mutated(data, random, target.tokens, is_protobuf=target.is_protobuf)[:most]

    atheris.Setup([sys.argv[0], *flags, str(corpus)], one_input, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    explore(TARGETS[sys.argv[1]], int(sys.argv[2]))
