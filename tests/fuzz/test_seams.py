"""Every seam, for a bounded time: seeds, the corpus of what once broke something, and some hundred mutations of them.

No input makes a seam raise anything but its own error, differ from its reference, or take memory out of proportion to
its size. `make fuzz` goes on from here, guided by coverage.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stopgap_protos.serving_pb2 import PredictResponse
from stopgap_runtime.http11 import Request

from tests.fuzz.echo_plane import NAME, grpc_api, rest_api
from tests.fuzz.mutation import mutated
from tests.fuzz.request_targets import GRPC, JSON
from tests.fuzz.target import MemoryHeld, Target, held_memory
from tests.fuzz.targets import TARGETS, found_inputs, replay_command

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ROUNDS = 60  # of hypothesis, with as many mutations each as follow
MUTATIONS_A_ROUND = 10

EACH = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def check(target: Target, data: bytes) -> None:
    with held_memory(target, data):
        target.check(data)


@EACH
def test_seeds_hold(target: Target) -> None:
    for seed in target.seeds:
        check(target, seed)


def test_seeds_of_requests_are_answered() -> None:
    """Or else mutations would begin, and end, at the first check."""
    for seed in GRPC.seeds[:2]:
        assert len(PredictResponse.FromString(b"".join(grpc_api.call(PREDICT, memoryview(seed), None))).outputs) == 3
    for seed in JSON.seeds:
        asked = Request("POST", f"/v1/models/{NAME}:predict", {}, seed, keep_alive=True)
        assert rest_api.answer(asked).status == 200


@pytest.mark.parametrize(
    ("target", "file"),
    [pytest.param(target, file, id=file.name) for target in TARGETS.values() for file in found_inputs(target)],
)
def test_what_once_broke_something_no_longer_does(target: Target, file: Path) -> None:
    check(target, file.read_bytes())


@EACH
def test_mutations_hold(target: Target) -> None:
    @settings(max_examples=ROUNDS, derandomize=True, deadline=None, database=None)
    @given(seed=st.integers(0, 2**32 - 1))
    def mutations_hold(seed: int) -> None:
        random = Random(seed)  # noqa: S311 - to be drawn again, and no secret
        for _ in range(MUTATIONS_A_ROUND):
            data = mutated(random.choice(inputs), random, target.tokens, is_protobuf=target.is_protobuf)
            try:
                check(target, data)
            except Exception as error:
                raise AssertionError(f"an input of {len(data)} bytes; type: {replay_command(target, data)}") from error

    inputs = [*target.seeds, *(file.read_bytes() for file in found_inputs(target))]
    mutations_hold()


def test_a_check_that_takes_too_much_is_noticed() -> None:
    greedy = Target("greedy", lambda data: list(range(len(data) << 18)).clear(), seeds=())
    with pytest.raises(MemoryHeld):
        check(greedy, b"12345")
    check(greedy, b"")
