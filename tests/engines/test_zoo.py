"""The promise itself: every zoo model, served contained, answers over gRPC and REST as TensorFlow 1.15 did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest
from stopgap import deployment
from stopgap.engines.choice import Engines
from stopgap.progress import silent
from stopgap.settings import Address, ServeSettings
from stopgap.store import Store

from tests import zoo
from tests.rest_client import Form, RestClient
from tests.runtime.test_rest_zoo import check as check_over_rest
from tests.stock_client import Refused, StockClient
from tests.stopgap_program import program_in

pytestmark = pytest.mark.slow

# Signatures that run a program, which no sandbox has: the error must say so.
NEEDS_A_PROGRAM: Final = {("ffmpeg_wav_encode", "no_ffmpeg_video"), ("ffmpeg_wav_encode", "no_ffmpeg_binary")}


@dataclass(frozen=True)
class Serving:
    """One front for the whole zoo; models come and go."""

    engine: str
    store: Store
    address: Address
    client: StockClient
    rest: RestClient

    @contextmanager
    def model(self, name: str, bundle: str = ServeSettings.bundle) -> Iterator[None]:
        engines = Engines(self.store.folder)
        wanted = ServeSettings(
            name=name,
            model=zoo.ZOO / name,
            bundle=bundle,
            address=self.address,
        )
        deployment.serve(wanted, engines.named(self.engine), self.store, print, silent)
        try:
            yield
        finally:
            deployment.stop(name, engines, self.store, print)


@pytest.fixture(scope="module")
def serving(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with program_in(tmp_path_factory.mktemp("zoo"), engine) as program:
        address = program.address
        with StockClient(address.grpc) as client:
            yield Serving(engine, Store(program.state), address, client, RestClient(address.rest))


@pytest.mark.parametrize("name", [name for name in zoo.NAMES if zoo.load(name).servable])
def test_every_servable_model_answers_through_the_front(serving: Serving, name: str) -> None:
    """Stock TF Serving stubs, then REST by columns and by rows; where answers change state, each on a fresh sandbox."""
    model = zoo.load(name)
    if not model.stateful:
        with serving.model(name):
            check_over_grpc(serving, model)
            for form in Form:
                check_cases_over_rest(serving, model, form)
        return
    with serving.model(name):
        check_over_grpc(serving, model)
    for form in Form:
        with serving.model(name):
            check_cases_over_rest(serving, model, form)


def check_over_grpc(serving: Serving, model: zoo.ZooModel) -> None:
    for case in model.cases:
        if case.error is None:
            ask = partial(serving.client.predict, model.name, case.signature, case.inputs)
            zoo.assert_matches(model, case, zoo.answer_of(model, ask, silence=(Refused,)))
            continue
        with pytest.raises(Refused) as refused:
            serving.client.predict(model.name, case.signature, case.inputs)
        assert refused.value.code == case.error.code, f"{model.name}/{case.name}: {refused.value.details}"
        if (model.name, case.name) in NEEDS_A_PROGRAM:
            assert "FFmpeg must be installed" in refused.value.details


def check_cases_over_rest(serving: Serving, model: zoo.ZooModel, form: Form) -> None:
    for case in model.cases:
        check_over_rest(serving.rest, model, case, form)


@pytest.mark.parametrize("name", zoo.WITH_HOSTILE_CASES)
def test_a_request_that_ends_a_bare_tensorflow_costs_its_own_caller_alone(serving: Serving, name: str) -> None:
    """The culprit gets an error, mostly from validation and else for its dead worker; the next caller an answer."""
    model = zoo.load(name)
    good = next(case for case in model.cases if case.error is None)
    with serving.model(name):
        for case in zoo.hostile_cases(name):
            with pytest.raises(Refused):
                serving.client.predict(name, case.signature, case.inputs)
            zoo.assert_matches(model, good, serving.client.predict(name, good.signature, good.inputs))


def test_a_model_without_contrib_ops_answers_the_same_from_the_modern_runtime(serving: Serving) -> None:
    """The candidate's side of a comparison: the same server, another TensorFlow."""
    model = zoo.load("sparsemax_attention_control")
    with serving.model(model.name, bundle="tf-2.21.0"):
        for case in model.cases:
            zoo.assert_matches(model, case, serving.client.predict(model.name, case.signature, case.inputs))


def test_every_model_that_nobody_can_serve_says_why(serving: Serving) -> None:
    """tf.py_func: the model loads, and its one signature answers with TensorFlow's own explanation."""
    (name,) = (name for name in zoo.NAMES if not zoo.load(name).servable)
    case = zoo.load(name).cases[0]
    with serving.model(name), pytest.raises(Refused, match=r"(?i)pyfunc"):
        serving.client.predict(name, case.signature, case.inputs)
