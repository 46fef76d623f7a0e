"""TensorFlow 2, tensorflow-serving-api and stopgap as it is installed, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests import zoo
from tests.packaging import environments
from tests.packaging.distributions import Distributions
from tests.packaging.environments import Environment
from tests.stopgap_program import Program, program_in

pytestmark = [pytest.mark.slow, pytest.mark.bubblewrap, pytest.mark.python("3.11")]

MODEL: Final = "stn_affine_resampler"
TENSORFLOW: Final = ("tensorflow", "tensorflow_serving.apis.predict_pb2")
STOPGAP: Final = ("stopgap.api.tf_calls", "stopgap.client.model", "stopgap_protos.serving_pb2")


@pytest.fixture(scope="module")
def environment(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environments.beside_development(tmp_path_factory.mktemp("site"), distributions.wheel)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program_in(tmp_path_factory.mktemp("served"), "bubblewrap") as program:
        program.serve(zoo.load(MODEL).folder, MODEL)
        yield program


@pytest.mark.parametrize(
    "modules",
    [(*TENSORFLOW, *STOPGAP), (*STOPGAP[1:], *TENSORFLOW), (*reversed(TENSORFLOW), *reversed(STOPGAP))],
    ids=["tensorflow first", "stopgap first", "serving api first"],
)
def test_stock_messages_go_in_and_come_out_whichever_was_imported_first(
    environment: Environment, served: Program, tmp_path: Path, modules: tuple[str, ...]
) -> None:
    """A process has one message of each name: protobuf refuses a second one that differs."""
    environment.call("stock", served.address.grpc, MODEL, *modules, cwd=tmp_path)
