"""Every servable zoo model over REST, at a real worker's socket, against the golden values of TensorFlow 1.15.

What REST has no words for is the table `UNSAYABLE`, which is held against the models in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from stopgap_runtime.faults import Code
from stopgap_runtime.rest_api import HTTP_STATUS

from tests import zoo
from tests.rest_client import UNSAYABLE, Form, RestClient, RestRefused, Unsayable, Why, why_unsayable
from tests.runtime.test_parent import runtime

pytestmark = pytest.mark.slow

# What the client meets where a run never ends: nothing, a worker that is being replaced, or the front's word for it.
SILENCE: Final = (TimeoutError, ConnectionError, RestRefused)

SERVABLE: Final = tuple(name for name in zoo.NAMES if zoo.load(name).servable)


@pytest.mark.parametrize("name", SERVABLE)
def test_every_servable_model_answers_over_rest_as_tensorflow_1_15_does(
    legacy_bundle: Path, tmp_path: Path, name: str
) -> None:
    model = zoo.load(name)
    for forms in fresh_for(model):
        folder = tmp_path / "-".join(form.value for form in forms)
        folder.mkdir()
        with runtime(legacy_bundle, model.folder, folder, name=name) as served:
            client = RestClient(f"unix:{served.worker().path}")
            for form in forms:
                for case in model.cases:
                    check(client, model, case, form)


def test_what_rest_has_no_words_for_is_in_the_zoo() -> None:
    cases = {(name, case.name) for name in SERVABLE for case in zoo.load(name).cases}
    listed = [
        (model, case)
        for reasons in UNSAYABLE.values()
        for models in reasons.values()
        for model, names in models.items()
        for case in names
    ]
    assert set(listed) <= cases


def fresh_for(model: zoo.ZooModel) -> Sequence[Sequence[Form]]:
    """The forms that one runtime after the other is asked in: a model that changes state has its cases asked once."""
    return [[form] for form in Form] if model.stateful else [list(Form)]


def check(client: RestClient, model: zoo.ZooModel, case: zoo.Case, form: Form) -> None:
    where = f"{model.name}/{case.name} by {form.value}"
    if why := why_unsayable(model.name, case.name, form):
        with pytest.raises((RestRefused, Unsayable)) as unsayable:
            client.predict(form, model.name, case.signature, case.inputs)
        assert why.value in str(unsayable.value), where
        return
    if case.error is None:
        ask = partial(client.predict, form, model.name, case.signature, case.inputs)
        zoo.assert_matches(model, case, zoo.answer_of(model, ask, silence=SILENCE))
        return
    with pytest.raises(RestRefused) as refused:
        client.predict(form, model.name, case.signature, case.inputs)
    assert refused.value.status == HTTP_STATUS[Code(case.error.code)], f"{where}: {refused.value}"
    assert not any(why.value in refused.value.text for why in Why), f"{where}: {refused.value}"
